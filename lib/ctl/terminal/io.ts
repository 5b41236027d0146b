/**
 * What the commands share: reading files, and what the shared options name: the enclave, the store, AWS.
 *
 * @module
 */
import { type KeyArn, parseKeyArn } from "../../shared/aws/key_arn.ts";
import { isRegion } from "../../shared/aws/region.ts";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import {
  CredentialSource,
  type CredentialSourceOptions,
  type ParentCredentials,
} from "../aws/credential_source.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import type { AccountStore } from "../stores/account_store.ts";
import { Client } from "../client/client.ts";
import { parseCertificate } from "../../shared/attestation/pem.ts";
import { type Address, parseAddress } from "../../shared/wire/address.ts";
import type { CtlIo } from "./printing.ts";

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

/** Reads a JSON file, or stdin for `-`. @throws {EnclaveError} `usage` that names the option. */
export async function readJson(file: string, option: string): Promise<unknown> {
  const text = await readInput(file);
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new UsageError(`Cannot read --${option} ${file}: ${messageOf(thrown)}`, "It must be a JSON file.");
  }
}

/** Reads the certificate of `--root`, PEM or DER. @throws {UsageError} */
export async function readRoot(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return parseCertificate(await Deno.readFile(file));
  } catch (thrown) {
    throw new UsageError(
      `Cannot use ${file} for --root: ${messageOf(thrown)}`,
      "Give a certificate, PEM or DER.",
    );
  }
}

/** `NAME=VALUE` each. @throws {UsageError} */
export function pairs(given: readonly string[], option: string, form: string): Record<string, string> {
  return Object.fromEntries(given.map((pair) => {
    const equals = pair.indexOf("=");
    if (equals >= 1) return [pair.slice(0, equals), pair.slice(equals + 1)];
    throw new UsageError(`Cannot use ${JSON.stringify(pair)} for --${option}`, `Write ${form}.`);
  }));
}

/** Connects to the enclave that the options name. @throws {EnclaveError} */
export async function connectEnclave(options: Options): Promise<Client> {
  return await Client.connect(enclaveAddress(options), { timeoutMs: timeoutOf(options) });
}

/** How long to wait for a reply. @throws {UsageError} */
export function timeoutOf(options: Options): number {
  return options.number("timeout-ms", { min: 1, max: 600_000 });
}

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
 * The KMS key. A --region on the command line must be the key's; one in the environment is ignored.
 *
 * @throws {UsageError | EnclaveError}
 */
export function requireKey(options: Options): KeyArn {
  const text = options.text("key");
  if (text === undefined) {
    throw new UsageError("Which KMS key?", "Give -k <key arn>: denclavectl kms create-key prints it.");
  }
  const key = parseKeyArn(text);
  const region = options.text("region");
  if (!options.isFlag("region") || region === key.region) return key;
  throw new UsageError(
    `--region is ${region}, but the key's ARN says ${key.region}`,
    "Leave --region out: the ARN has it.",
  );
}

/** Credentials of AWS's provider chain, fetched when they are first needed. */
export function awsCredentials(
  region: string | undefined,
  io: CtlIo,
  options: CredentialSourceOptions = {},
): CredentialSource {
  let chain: (() => Promise<ParentCredentials>) | undefined;
  return new CredentialSource(async () => {
    // Load the AWS SDK only when it is needed.
    const { providerChain } = await import("../aws/provider_chain.ts");
    chain ??= providerChain(region);
    return await chain();
  }, { ...options, profile: io.env("AWS_PROFILE") || undefined });
}

/** As {@link awsCredentials}, in the region of the options. @throws {UsageError} */
export function credentialSource(options: Options, io: CtlIo): CredentialSource {
  return awsCredentials(regionOf(options, io), io);
}

/** The DynamoDB table's name. */
export function tableName(options: Options): string {
  return options.text("table") ?? "AccountTable";
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
  return store ?? (options.text("table") === undefined ? "sqlite:accounts.sqlite" : "dynamodb");
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
  const region = requireRegion(options, io);
  const { openDynamoDbStore } = await import("../stores/dynamodb.ts");
  return openDynamoDbStore({
    table: tableName(options),
    region,
    credentials,
    endpoint: options.text("endpoint-url"),
  });
}
