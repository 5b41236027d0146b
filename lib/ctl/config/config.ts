/**
 * The configuration file of the parent and of development: which KMS, which enclaves, where the database is. An enclave reads no such file: its
 * configuration is in its image (docs/security.md).
 *
 * @module
 */
import { isRegion } from "../../shared/aws/region.ts";
import { parseEndpoint } from "../../shared/aws/endpoint.ts";
import { parseDevelopmentKey } from "../../shared/aws/development_key.ts";
import { type KeyArn, parseKeyArn } from "../../shared/aws/key_arn.ts";
import { type Address, formatAddress } from "../../shared/wire/address.ts";
import { parseYaml, readConfigText } from "./document.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { attempt, type Field, Mismatch, type Parser, Section, text, truth, whole, word } from "./section.ts";

const ENVIRONMENTS = ["development", "production"] as const;

/** The environment of a configuration: in production, settings that weaken security are refused. */
type Environment = (typeof ENVIRONMENTS)[number];

/** The KMS and its settings. */
interface KmsConfig {
  /** The key: its full ARN in production; an id or alias too in development. Undefined: the enclave's only key, in development. */
  readonly keyId: string | undefined;
  /** Whether KMS requires an attestation document before it releases a key. */
  readonly enableAttestation: boolean;
  /** The key's region; us-east-1 where neither the key nor the file gives one, in development. */
  readonly region: string;
}

/** An enclave and its address. */
export interface EnclaveConfig {
  /** The row's primary key. */
  readonly enclaveId: number;
  readonly address: Address;
}

/** Time limits, milliseconds. */
interface ConfigLimits {
  /** Connecting to an enclave. */
  readonly connectMs: number;
  /** A request to an enclave, from the first byte to the last of its reply. */
  readonly requestMs: number;
  /** Waiting for the database's lock. */
  readonly databaseMs: number;
  /** Waiting for AWS's credential providers. */
  readonly credentialsMs: number;
}

/** A parsed and checked configuration file. */
export interface Config {
  readonly environment: Environment;
  readonly kms: KmsConfig;
  /** One at least; ids and addresses differ. */
  readonly enclaves: readonly EnclaveConfig[];
  readonly database: { readonly path: string };
  readonly limits: ConfigLimits;
}

const MAX_ENCLAVES = 64;
const MAX_ENCLAVE_ID = 0x7fff_ffff;
const MAX_U32 = 0xffff_ffff;
/** 0 to 2 are reserved, 3 is the parent (vsock(7), Nitro Enclaves User Guide). */
const MIN_ENCLAVE_CID = 4;
const MAX_MS = 3_600_000;
/** The account of the keys of the local KMS and of LocalStack. */
const NOBODYS_ACCOUNT = "000000000000";
const FALLBACK_REGION = "us-east-1";

const TRANSPORTS = ["vsock", "tcp", "unix"] as const;
const TRANSPORT_FIELDS = {
  vsock: ["cid", "port"],
  tcp: ["host", "port"],
  unix: ["path"],
} as const satisfies Readonly<Record<(typeof TRANSPORTS)[number], readonly string[]>>;

/**
 * Parses a configuration.
 *
 * @param file its name, for errors
 * @throws {ConfigError} with every problem's line, column and field.
 */
export function parseConfig(source: string, file: string): Config {
  const problems: ConfigProblem[] = [];
  const root = Section.open(parseYaml(source, file), {
    path: "",
    known: ["environment", "kms", "enclaves", "database", "limits"],
    problems,
  });
  const environment = root.required("environment", word(ENVIRONMENTS), "development").value;
  const config: Config = {
    environment,
    kms: readKms(root, environment),
    enclaves: readEnclaves(root, environment),
    database: { path: readDatabase(root, environment) },
    limits: readLimits(root),
  };
  if (problems.length > 0) throw new ConfigError(file, problems);
  return config;
}

/**
 * Reads and parses a configuration file. Needs read permission for it.
 *
 * @throws {ConfigError}
 */
export async function readConfigFile(file: string): Promise<Config> {
  return parseConfig(await readConfigText(file), file);
}

export const enclaveCid: Parser<number> = (value) =>
  typeof value === "number" && value >= 0 && value < MIN_ENCLAVE_CID
    ? new Mismatch(
      `must be ${MIN_ENCLAVE_CID} or more: 0 to 2 are reserved by vsock, and 3 is the parent instance`,
    )
    : whole(MIN_ENCLAVE_CID, MAX_U32 - 1)(value);

const region: Parser<string | undefined> = (value) =>
  typeof value === "string" && isRegion(value)
    ? value
    : new Mismatch("must be a region's name, such as us-west-2");

const url: Parser<string | undefined> = (value) =>
  attempt(() => parseEndpoint(String(value)), (message) => `must be null or a URL (${message})`);

function readKms(root: Section, environment: Environment): KmsConfig {
  const isProduction = environment === "production";
  if (!root.has("kms")) root.refuse({ at: root.at, path: "kms" }, "is missing");
  const kms = root.section("kms", ["enabled", "endpoint_url", "key_id", "enable_attestation", "region"]);
  checkEnabled(kms);
  checkEndpoint(kms, isProduction);
  const keyId = kms.optional("key_id", text(2048), "");
  const attestation = kms.optional("enable_attestation", truth, isProduction);
  const named = kms.optional("region", region, undefined);

  if (isProduction && !attestation.value) {
    kms.refuse(
      attestation,
      "must be true in production: else KMS releases keys to whoever holds the parent's credentials",
    );
  }
  const strict = isProduction ? "in production" : attestation.value ? "with enable_attestation" : undefined;
  const key = readKey(kms, keyId, {
    strict,
    isNeeded: root.has("kms") && strict !== undefined,
    region: named.value,
  });
  if (key !== undefined && named.value !== undefined && named.value !== key.region) {
    kms.refuse(named, `must be ${key.region}, as the key's ARN says`);
  }
  return {
    keyId: key?.arn,
    enableAttestation: attestation.value,
    region: key?.region ?? named.value ?? FALLBACK_REGION,
  };
}

/** Keys are always kept under a KMS, so the field can only confirm that. */
function checkEnabled(kms: Section): void {
  const enabled = kms.optional("enabled", truth, true);
  if (enabled.value) return;
  kms.refuse(enabled, "must be true: the enclave always uses a KMS; for its local one leave key_id out");
}

/**
 * The gateway does not call KMS, the enclave does: the field says which KMS a development service was started
 * with.
 */
function checkEndpoint(kms: Section, isProduction: boolean): void {
  const endpoint = kms.optional("endpoint_url", url, undefined);
  if (endpoint.value === undefined || !isProduction) return;
  kms.refuse(endpoint, "must be null in production: the enclave calls AWS's KMS, in the key's region");
}

function readKey(
  kms: Section,
  keyId: Field<string>,
  rules: {
    readonly strict: string | undefined;
    readonly isNeeded: boolean;
    readonly region: string | undefined;
  },
): KeyArn | undefined {
  const { strict, isNeeded } = rules;
  if (!kms.has("key_id")) {
    if (isNeeded) kms.refuse(keyId, "is missing");
    return undefined;
  }
  // Not a text: already reported.
  if (keyId.value === "") return undefined;
  const why = keyId.value.includes("alias/")
    ? "an alias can be moved to another key"
    : "arn:aws:kms:<region>:<account>:key/<id>";
  const key = strict === undefined
    ? attempt(
      () => parseDevelopmentKey(keyId.value, rules.region ?? FALLBACK_REGION),
      () => "must be a key's ARN or id, or an alias such as alias/mine",
    )
    : attempt(() => parseKeyArn(keyId.value), () => `must be the key's full ARN ${strict}: ${why}`);
  if (key instanceof Mismatch) return kms.refuse(keyId, key.what), undefined;
  if (strict !== undefined && key.account === NOBODYS_ACCOUNT) {
    kms.refuse(keyId, `must be a key of AWS ${strict}: account ${NOBODYS_ACCOUNT} is that of the local KMS`);
  }
  return key;
}

function readEnclaves(root: Section, environment: Environment): readonly EnclaveConfig[] {
  const sections = root.sections("enclaves", ["enclave_id", "transport", "cid", "port", "host", "path"]);
  const list = { at: sections[0]?.at ?? root.at, path: "enclaves" };
  if (!root.has("enclaves")) root.refuse(list, "is missing");
  else if (sections.length > MAX_ENCLAVES) {
    root.refuse(list, `has ${sections.length} enclaves, at most ${MAX_ENCLAVES} are taken`);
  }
  const ids = new Map<number, string>();
  const addresses = new Map<string, string>();
  return sections.slice(0, MAX_ENCLAVES).map((section) => {
    const enclaveId = section.required("enclave_id", whole(0, MAX_ENCLAVE_ID), -1);
    const address = readAddress(section, environment);
    const sameId = enclaveId.value < 0 ? undefined : ids.get(enclaveId.value);
    if (sameId !== undefined) section.refuse(enclaveId, `must differ from that of ${sameId}`);
    else ids.set(enclaveId.value, section.path);
    const name = address === undefined ? "" : formatAddress(address);
    const sameAddress = address === undefined ? undefined : addresses.get(name);
    if (sameAddress !== undefined) section.refuse(section, `has the address of ${sameAddress}`);
    else addresses.set(name, section.path);
    return { enclaveId: enclaveId.value, address: address ?? { transport: "unix", path: "" } };
  });
}

/** Undefined when it is invalid, which has then been reported. */
function readAddress(section: Section, environment: Environment): Address | undefined {
  const transport = section.required<(typeof TRANSPORTS)[number] | undefined>(
    "transport",
    word(TRANSPORTS),
    undefined,
  );
  const kind = transport.value;
  if (kind === undefined) return undefined;
  if (environment === "production" && kind !== "vsock") {
    section.refuse(transport, "must be vsock in production: an enclave cannot be reached in another way");
  }
  const known: readonly string[] = TRANSPORT_FIELDS[kind];
  for (const name of new Set(Object.values(TRANSPORT_FIELDS).flat())) {
    if (known.includes(name) || !section.has(name)) continue;
    const field = section.optional<unknown>(name, (value) => value, undefined);
    section.refuse(field, `does not go with transport ${kind}: that has ${known.join(" and ")}`);
  }
  switch (kind) {
    case "vsock": {
      const cid = section.required("cid", enclaveCid, 0).value;
      const port = section.required("port", whole(1, MAX_U32 - 1), 0).value;
      return cid === 0 || port === 0 ? undefined : { transport: kind, cid, port };
    }
    case "tcp": {
      const hostname = section.required("host", text(253), "").value;
      const port = section.required("port", whole(1, 0xffff), 0).value;
      return hostname === "" || port === 0 ? undefined : { transport: kind, hostname, port };
    }
    case "unix": {
      // sun_path has 108 bytes including the terminating NUL (unix(7)).
      const path = section.required("path", text(107), "").value;
      return path === "" ? undefined : { transport: kind, path };
    }
    default:
      return kind satisfies never;
  }
}

function readDatabase(root: Section, environment: Environment): string {
  if (!root.has("database")) root.refuse({ at: root.at, path: "database" }, "is missing");
  const database = root.section("database", ["path"]);
  const path = root.has("database")
    ? database.required("path", text(4096), "")
    : database.optional("path", text(4096), "");
  if (path.value.startsWith("file:")) {
    database.refuse(path, "must be a path: SQLite would take this for a URI");
  }
  if (
    environment === "production" && path.value !== "" && !path.value.startsWith("/") &&
    path.value !== ":memory:"
  ) {
    database.refuse(path, "must be absolute in production: from another folder it would be another database");
  }
  if (environment === "production" && path.value === ":memory:") {
    database.refuse(path, "must be a file in production: what is in memory is lost at a restart");
  }
  return path.value;
}

function readLimits(root: Section): ConfigLimits {
  const limits = root.section("limits", ["connect_ms", "request_ms", "database_ms", "credentials_ms"]);
  const ms = (name: string, missing: number) => limits.optional(name, whole(10, MAX_MS), missing).value;
  return {
    connectMs: ms("connect_ms", 5_000),
    requestMs: ms("request_ms", 65_000),
    databaseMs: ms("database_ms", 5_000),
    credentialsMs: ms("credentials_ms", 15_000),
  };
}
