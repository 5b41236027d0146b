/**
 * `denclavectl emulator serve`: the local KMS emulator, for development.
 *
 * @module
 */
import { EXIT, helpLines, type Options, parseOptions, UsageError } from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readSecretFile } from "../../shared/files.ts";
import { KmsRefusal } from "../../dev/kms_emulator/errors.ts";
import { type KmsEmulatorOptions, startKmsEmulator } from "../../dev/kms_emulator/server.ts";
import type { PolicyFor } from "../../dev/kms_emulator/service.ts";
import { type AccessKey, parseAccessKeys } from "../../dev/kms_emulator/signature.ts";
import { parseAddress } from "../../shared/wire/address.ts";
import { readRoot } from "./attestation_options.ts";
import type { CtlIo } from "../terminal/io.ts";

/** Commands of the group. */
export const EMULATOR_COMMANDS = ["serve"] as const;

/** Bytes. */
const MAX_ACCESS_KEYS_LENGTH = 1_048_576;

const SPECS = [
  { name: "listen", value: "ADDRESS", default: "tcp:127.0.0.1:4599", help: "tcp:<host>:<port>" },
  {
    name: "region",
    short: "r",
    env: "DENCLAVE_REGION",
    value: "REGION",
    default: "us-east-1",
    help: "region of the keys",
  },
  { name: "account", value: "ID", default: "000000000000", help: "AWS account of new keys" },
  {
    name: "tls-dir",
    value: "DIR",
    help: "use TLS, with a CA in this folder: ca.pem, which clients must trust, and ca.key",
  },
  {
    name: "tls-name",
    value: "NAME",
    multiple: true,
    help: "an additional host name or address in the certificate; repeat for more",
  },
  {
    name: "keys-file",
    value: "FILE",
    help: "store keys in this file, mode 0600; without it they are kept in memory",
  },
  {
    name: "policy",
    value: "[KEY=]FILE",
    multiple: true,
    help: "a key policy, for one key or for all keys that exist at the start; repeat for more",
  },
  {
    name: "access-keys",
    value: "FILE",
    help: "check signatures against these access keys: JSON, mode 0600",
  },
  {
    name: "caller",
    value: "ARN",
    help: "the identity of every caller if there are no --access-keys; the default is the account's root",
  },
  {
    name: "root",
    value: "FILE",
    help: "root certificate for attestation documents, PEM or DER; the default is AWS's Nitro root",
  },
  ...COMMON_OPTIONS,
] as const;

const HELP = `usage: denclavectl emulator serve [options]

A local KMS emulator, for development: Decrypt, Encrypt, GenerateDataKey, GenerateRandom, CreateKey, DescribeKey, ListKeys,
EnableKey, DisableKey, EnableKeyRotation, GetKeyPolicy, PutKeyPolicy, CreateAlias, ListAliases, ListGrants, and STS
GetCallerIdentity. Attestation documents are verified, key policies are evaluated against them, and attested answers are
encrypted to the enclave. Writes one JSON line for each request, as CloudTrail would show it.
Not for secrets: who can read its files or its memory has the keys. deno task rehearse starts it with services that attest.

An access keys file: {"version":1,"accessKeys":[{"accessKeyId":"AKIA...","secretAccessKey":"...",
"arn":"arn:aws:iam::<account>:role/<name>"}]}; for a session add "sessionToken" and "expires" (2026-01-01T00:00:00Z).

${helpLines(SPECS)}
`;

async function read(
  option: string,
  path: string,
  readFile: (path: string) => Promise<Uint8Array<ArrayBuffer>> = Deno.readFile,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await readFile(path);
  } catch (thrown) {
    throw new UsageError(
      `Cannot read ${path} for --${option}: ${messageOf(thrown)}`,
      "Check the path and its permissions.",
    );
  }
}

async function readAccessKeys(path: string): Promise<readonly AccessKey[]> {
  const bytes = await read("access-keys", path, (file) => readSecretFile(file, MAX_ACCESS_KEYS_LENGTH));
  try {
    return parseAccessKeys(new TextDecoder().decode(bytes));
  } finally {
    bytes.fill(0);
  }
}

/** `<key>=<file>`, where a key is an ARN or an id: neither has an equals sign. */
async function readPolicy(text: string): Promise<PolicyFor> {
  const equals = text.indexOf("=");
  const path = text.slice(equals + 1);
  const policy = new TextDecoder().decode(await read("policy", path));
  return equals === -1 ? { policy } : { key: text.slice(0, equals), policy };
}

async function serverOptions(options: Options): Promise<KmsEmulatorOptions> {
  const address = parseAddress(options.text("listen") ?? "");
  if (address.transport !== "tcp") {
    throw new UsageError(
      "--listen must be tcp:<host>:<port>",
      "An enclave connects through the vsock-proxy.",
    );
  }
  const policies: PolicyFor[] = [];
  for (const text of options.list("policy")) policies.push(await readPolicy(text));
  const accessKeys = options.text("access-keys");
  if (accessKeys !== undefined && options.text("caller") !== undefined) {
    throw new UsageError("--caller does not go with --access-keys", "That file gives each key's identity.");
  }
  const root = options.text("root");
  return {
    hostname: address.hostname,
    port: address.port,
    region: options.text("region"),
    account: options.text("account"),
    tlsFolder: options.text("tls-dir"),
    tlsNames: options.list("tls-name"),
    keysFile: options.text("keys-file"),
    policies,
    caller: options.text("caller"),
    root: root === undefined ? undefined : await readRoot(root),
    // Last, so that nothing can fail between reading the keys and giving them to the server.
    accessKeys: accessKeys === undefined ? undefined : await readAccessKeys(accessKeys),
  };
}

/** Serves until the process is signalled to stop. */
export async function runEmulator(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  if (io.env("DENO_SERVE_ADDRESS") !== undefined) {
    throw new UsageError(
      "The variable DENO_SERVE_ADDRESS is set",
      "It would make the server listen at another address: unset it.",
    );
  }
  const ended = io.untilSignal();
  const line = (fields: object) => io.stdout(`${JSON.stringify(fields)}\n`);
  try {
    await using server = await startKmsEmulator({
      ...await serverOptions(options),
      onEvent: line,
      onProblem: (what) => line({ eventTime: new Date().toISOString(), event: "problem", what }),
    });
    line({
      eventTime: new Date().toISOString(),
      event: "listening",
      address: `tcp:${
        server.hostname.includes(":") ? `[${server.hostname}]` : server.hostname
      }:${server.port}`,
      url: server.url,
      keys: server.kms.keyArns,
      ...(server.caFile === undefined ? {} : { ca: server.caFile }),
    });
    const signal = await ended;
    line({ eventTime: new Date().toISOString(), event: "ended", signal });
  } catch (thrown) {
    const isUsage = thrown instanceof KmsRefusal ||
      (thrown instanceof EnclaveError && ["kms_emulator_options", "access_keys_file"].includes(thrown.code));
    throw isUsage ? new UsageError(thrown.message, thrown.hint) : thrown;
  }
  return EXIT.ok;
}
