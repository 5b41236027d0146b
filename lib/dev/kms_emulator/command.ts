/**
 * What `denclavectl emulator serve` runs: the server, from the command's options.
 *
 * @module
 */
import { readRoot } from "../../ctl/terminal/io.ts";
import type { CtlIo } from "../../ctl/terminal/printing.ts";
import { EXIT, type Options, UsageError } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readSecretFile } from "../../shared/files.ts";
import { parseAddress } from "../../shared/wire/address.ts";
import { KmsRefusal } from "./errors.ts";
import { type KmsEmulatorOptions, startKmsEmulator } from "./server.ts";
import type { PolicyFor } from "./service.ts";
import { type AccessKey, parseAccessKeys } from "./signature.ts";

/** Bytes. */
const MAX_ACCESS_KEYS_LENGTH = 1_048_576;

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

/** `denclavectl emulator serve`: serves until the process is signalled to stop. */
export async function serveEmulator(options: Options, io: CtlIo): Promise<number> {
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
