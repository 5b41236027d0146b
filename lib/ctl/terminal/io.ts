/**
 * What the parent's tools share: where they write, and the options that say which enclave, which store, which AWS.
 *
 * @module
 */
import { type KeyArn, parseKeyArn } from "../../shared/aws/key_arn.ts";
import { isRegion } from "../../shared/aws/region.ts";
import { type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { CredentialSource, type ParentCredentials } from "../aws/credential_source.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import type { AccountStore } from "../stores/account_store.ts";
import { type Address, parseAddress } from "../../shared/wire/address.ts";
import type { CtlIo } from "./printing.ts";

export type { CtlIo } from "./printing.ts";

/** The largest text that a file or stdin may be. */
const MAX_INPUT = 1_048_576;

/** How an input is called in errors. */
export function inputName(file: string): string {
  return file === "-" ? "stdin" : file;
}

function unreadable(file: string, thrown: unknown): EnclaveError {
  return new EnclaveError(`Cannot read ${inputName(file)}: ${messageOf(thrown)}`, {
    code: "usage",
    hint: thrown instanceof Deno.errors.NotFound
      ? "Check the path, which is relative to the current folder, and that the step which makes the file has run."
      : thrown instanceof RangeError
      ? "Check that this is the right input."
      : thrown instanceof TypeError
      ? "It must be text in UTF-8."
      : "Check that it is a file, and its permissions.",
    cause: thrown,
  });
}

/**
 * Reads a file's bytes, or stdin's for `-`.
 *
 * @param max bytes
 * @throws {EnclaveError} `usage` when it is missing or too long.
 */
export async function readBytes(file: string, max: number): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const opened = file === "-" ? undefined : await Deno.open(file);
    const stream = opened?.readable ?? Deno.stdin.readable;
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let length = 0;
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > max) throw new RangeError(`it is longer than ${max} bytes`);
      chunks.push(chunk);
    }
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  } catch (thrown) {
    throw unreadable(file, thrown);
  }
}

/**
 * Reads a file's text, or stdin's for `-`. A byte order mark at its beginning is dropped.
 *
 * @throws {EnclaveError} `usage` when it is missing, too long or not text.
 */
export async function readInput(file: string): Promise<string> {
  const bytes = await readBytes(file, MAX_INPUT);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (thrown) {
    throw unreadable(file, thrown);
  }
}

/** Options of all commands that call AWS. */
export const AWS_OPTIONS = [
  {
    name: "region",
    short: "r",
    env: "DENCLAVE_REGION",
    value: "REGION",
    help: "AWS region, if no key's ARN gives it; AWS_REGION is also read",
  },
  {
    name: "endpoint-url",
    env: "AWS_ENDPOINT_URL",
    value: "URL",
    help: "an endpoint to use instead of AWS's, for development",
  },
] as const satisfies readonly OptionSpec[];

/** The DynamoDB table of the accounts. */
export const TABLE_OPTION = {
  name: "table",
  short: "t",
  env: "DENCLAVE_TABLE",
  value: "TABLE",
  help: "DynamoDB table (default AccountTable)",
} as const satisfies OptionSpec;

/** The KMS key. */
export const KEY_OPTION = {
  name: "key",
  short: "k",
  env: "DENCLAVE_KMS_KEY",
  value: "ARN",
  help: "the KMS key",
} as const satisfies OptionSpec;

/** Options of the accounts' store. */
export const STORE_OPTIONS = [
  {
    name: "store",
    env: "DENCLAVE_STORE",
    value: "STORE",
    help: "dynamodb or sqlite:<file>; the default is sqlite:accounts.sqlite, or dynamodb with -t",
  },
  TABLE_OPTION,
] as const satisfies readonly OptionSpec[];

/** Options that say where the enclave is. */
export const ENCLAVE_OPTIONS = [
  {
    name: "cid",
    short: "c",
    env: "DENCLAVE_CID",
    value: "CID",
    default: "16",
    help: "the enclave's CID; overrides DENCLAVE_CONNECT",
  },
  {
    name: "port",
    short: "p",
    env: "DENCLAVE_PORT",
    value: "PORT",
    default: "5000",
    help: "the enclave's vsock port; overrides DENCLAVE_CONNECT",
  },
  {
    name: "connect",
    env: "DENCLAVE_CONNECT",
    value: "ADDRESS",
    help: "the service's address if it is not an enclave: tcp:<host>:<port> or unix:<path>",
  },
  { name: "timeout-ms", value: "MS", default: "65000", help: "how long to wait for a reply" },
] as const satisfies readonly OptionSpec[];

const DEFAULT_TABLE = "AccountTable";
const DEFAULT_FILE = "accounts.sqlite";

/** Where the enclave is. @throws {UsageError | EnclaveError} */
export function enclaveAddress(options: Options): Address {
  const connect = options.text("connect");
  const vsock = ["cid", "port"].filter((name) => options.isFlag(name));
  if (options.isFlag("connect") && vsock.length > 0) {
    throw new UsageError(
      `--${vsock.join(" and --")} does not go with --connect`,
      "Give --connect alone, or --cid and --port without it.",
    );
  }
  if (connect !== undefined && vsock.length === 0) return parseAddress(connect);
  return {
    transport: "vsock",
    cid: options.number("cid", { min: 1, max: 0xffff_fffe }),
    port: options.number("port", { min: 1, max: 0xffff_ffff }),
  };
}

/** The region in the ARN of --key; undefined where that is no ARN. */
function regionOfKey(options: Options): string | undefined {
  const key = options.text("key");
  try {
    return key === undefined ? undefined : parseKeyArn(key).region;
  } catch {
    return undefined;
  }
}

/**
 * The region from the option, the environment or the key's ARN; undefined if none has it. @throws
 * {UsageError}
 */
export function regionOf(options: Options, io: CtlIo): string | undefined {
  const region = options.text("region") || io.env("AWS_REGION") || io.env("AWS_DEFAULT_REGION") ||
    regionOfKey(options);
  if (region === undefined) return undefined;
  if (isRegion(region)) return region;
  throw new UsageError(
    `Cannot use ${JSON.stringify(region)} for --region`,
    "Give a region's name such as us-west-2.",
  );
}

/** As {@link regionOf}, but required. @throws {UsageError} */
export function requireRegion(options: Options, io: CtlIo): string {
  const region = regionOf(options, io);
  if (region !== undefined) return region;
  throw new UsageError(
    "Which region?",
    "Give -r <region>, or set DENCLAVE_REGION or AWS_REGION.",
  );
}

/**
 * Checks that --region, where the command line has it, is the key's: the ARN says where the key is, whatever the environment says.
 *
 * @throws {UsageError}
 */
export function checkRegion(options: Options, key: KeyArn): void {
  const region = options.text("region");
  if (!options.isFlag("region") || region === key.region) return;
  throw new UsageError(
    `--region is ${region}, but the key's ARN says ${key.region}`,
    "Leave --region out: the ARN has it.",
  );
}

/** Credentials of AWS's provider chain, fetched when they are first needed. */
export function credentialSource(options: Options, io: CtlIo): CredentialSource {
  let chain: (() => Promise<ParentCredentials>) | undefined;
  const region = regionOf(options, io);
  return new CredentialSource(async () => {
    // Load the AWS SDK only when it is needed.
    const { providerChain } = await import("../aws/provider_chain.ts");
    chain ??= providerChain(region);
    return await chain();
  }, { profile: io.env("AWS_PROFILE") || undefined });
}

/** The DynamoDB table's name. */
export function tableName(options: Options): string {
  return options.text("table") ?? DEFAULT_TABLE;
}

/** The store to use: --table selects DynamoDB and overrides DENCLAVE_STORE. @throws {UsageError} */
export function storeKind(options: Options): string {
  const store = options.text("store");
  if (options.isFlag("table")) {
    if (options.isFlag("store") && store !== "dynamodb") {
      throw new UsageError(
        `--table does not go with --store ${store}`,
        "Tables are for DynamoDB: give only one of the two.",
      );
    }
    return "dynamodb";
  }
  return store ?? (options.text("table") === undefined ? `sqlite:${DEFAULT_FILE}` : "dynamodb");
}

/**
 * Opens the store that the options name. The AWS SDK is loaded only for DynamoDB.
 *
 * @param options.create whether to create a missing SQLite file
 * @throws {UsageError | StoreError}
 */
export async function openStore(
  options: Options,
  io: CtlIo,
  credentials: CredentialSource,
  { create = false }: { readonly create?: boolean } = {},
): Promise<AccountStore> {
  const kind = storeKind(options);
  if (kind.startsWith("sqlite:") && kind.length > "sqlite:".length) {
    const { openSqliteStore } = await import("../stores/sqlite.ts");
    return openSqliteStore(kind.slice("sqlite:".length), { create });
  }
  if (kind !== "dynamodb") {
    throw new UsageError(`Cannot use ${JSON.stringify(kind)} for --store`, "Give dynamodb or sqlite:<file>.");
  }
  const { openDynamoDbStore } = await import("../stores/dynamodb.ts");
  return openDynamoDbStore({
    table: tableName(options),
    region: requireRegion(options, io),
    credentials,
    endpoint: options.text("endpoint-url"),
  });
}
