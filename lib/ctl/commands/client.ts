/**
 * A command-line client of the session key service: sends the requests that a parent instance sends.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { EXIT, helpLines, type Options, parseOptions, UsageError } from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { NONCE_LENGTH as BLOB_NONCE_LENGTH, TAG_LENGTH } from "../../shared/crypto/sealing.ts";
import { messageOf } from "../../shared/errors.ts";
import { readSecretFile } from "../../shared/files.ts";
import {
  EXPECT_OPTIONS,
  type ExpectedEnclave,
  expectedEnclave,
  namesEnclave,
  nonceOf,
} from "./attestation_options.ts";
import { verifyAttestReply } from "../client/attest_reply.ts";
import { Client, type ClientOptions, orThrow, type Requester } from "../client/client.ts";
import { exchangeWithCredentials } from "../client/credentialed.ts";
import { processData } from "../client/process.ts";
import { SealedClient } from "../client/sealed_client.ts";
import { readSessionKey } from "../client/session_keys.ts";
import { type HpkeKeyPair, importKeyPair } from "../../shared/sealed/mod.ts";
import { parseAddress } from "../../shared/wire/address.ts";
import { DEFAULT_MAX_LENGTH } from "../../shared/wire/framing.ts";
import { credentialSource, type CtlIo, readBytes } from "../terminal/io.ts";
import { oneLine } from "../terminal/printing.ts";
import { optionalString, requiredString, type WireObject } from "../../shared/wire/messages.ts";

/** Commands of the group. */
export const CLIENT_COMMANDS = [
  "ping",
  "health",
  "attest",
  "logs",
  "metrics",
  "configure",
  "process",
] as const;
type Command = typeof CLIENT_COMMANDS[number];

const SPECS = [
  {
    name: "connect",
    short: "c",
    env: "DENCLAVE_CONNECT",
    value: "ADDRESS",
    default: "tcp:127.0.0.1:5000",
    help: "vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>",
  },
  { name: "framing", value: "NAME", default: "u32be", help: "framing: u32be, u64le or raw" },
  { name: "timeout-ms", value: "MS", default: "65000", help: "how long to wait for a reply" },
  { name: "encrypted-tsk", value: "BASE64", help: "configure: the session key, wrapped by KMS" },
  { name: "kms-key-id", value: "KEY", help: "configure: which KMS key, if the service allows several" },
  {
    name: "region",
    short: "r",
    value: "REGION",
    help: "configure: the key's region, if no ARN gives it",
  },
  { name: "epoch", value: "N", help: "configure: the key's epoch, for a service that requires one" },
  {
    name: "tsk-file",
    value: "FILE",
    help: "process: seal the data with this key (hex), and open the result",
  },
  {
    name: "data",
    value: "TEXT",
    help: "process: the data to seal and send; - for stdin, @FILE for a file; needs --tsk-file",
  },
  { name: "unbound", help: "process: use the old blob format, for a service that supports no other" },
  { name: "ciphertext", value: "HEX", help: "process: an already sealed blob" },
  {
    name: "request-id",
    value: "HEX",
    help: "process: the request id that the blob of --ciphertext is bound to",
  },
  { name: "limit", value: "N", default: "100", help: "logs: maximum number of events" },
  { name: "security", help: "logs: only events about keys and refusals, which no flood displaces" },
  { name: "nonce", value: "BASE64", help: "attest: the document's nonce; random, unless given" },
  {
    name: "user-data",
    value: "TEXT",
    help: "attest: text to include in the document as user data, up to 256 bytes",
  },
  { name: "insecure-skip-verification", help: "for development: attest: print the document unverified" },
  { name: "sealed", help: "seal requests for the enclave after verifying its attestation" },
  ...EXPECT_OPTIONS,
  {
    name: "client-key-file",
    value: "FILE",
    help: "with --sealed: this client's private key (openssl genpkey -algorithm X25519 -out FILE)",
  },
  { name: "json", help: "print the reply as JSON, unchanged" },
  ...COMMON_OPTIONS,
] as const;

const HELP = `usage: denclavectl client <command> [options]

Talks to the session key service.
commands: ${CLIENT_COMMANDS.join(", ")}
attest and --sealed verify the enclave: they need its PCR0 (or PCR8), by --pcr or --measurements
configure takes the credentials where AWS's own tools do: environment, profile, container, instance role (IMDSv2)
options:
${helpLines(SPECS)}

exit codes: 0 the service did it, 1 the service or a check refused, 2 usage, 69 no connection
`;

const NONCE_LENGTH = 32;
/** Room for the other fields of a `process` request. */
const FIELDS_LENGTH = 256;
/** Data whose blob, in hex, still fits the largest message that a service takes unless configured. Bytes. */
const MAX_DATA = (DEFAULT_MAX_LENGTH - FIELDS_LENGTH) / 2 - BLOB_NONCE_LENGTH - TAG_LENGTH;
const MAX_PEM_LENGTH = 1_024;
const PEM = /^-----BEGIN PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]{1,200})-----END PRIVATE KEY-----\s*$/;

const encoder = new TextEncoder();

function configureRequest(options: Options): WireObject {
  const wrapped = options.text("encrypted-tsk");
  if (wrapped === undefined) {
    throw new UsageError(
      "--encrypted-tsk must be set",
      "It is the output of KMS Encrypt for the session key.",
    );
  }
  const optional: WireObject = {};
  const region = options.text("region");
  const key = options.text("kms-key-id");
  if (region !== undefined) optional["region"] = region;
  if (key !== undefined) optional["kms_key_id"] = key;
  if (options.text("epoch") !== undefined) {
    optional["epoch"] = options.number("epoch", { min: 0, max: Number.MAX_SAFE_INTEGER });
  }
  return {
    type: "configure",
    encrypted_tsk: wrapped,
    ...optional,
  };
}

/** The bytes that --data names: its text, stdin or a file. @throws {EnclaveError} `usage` */
async function dataOf(data: string): Promise<Uint8Array<ArrayBuffer>> {
  if (data === "-") return await readBytes("-", MAX_DATA);
  if (data.startsWith("@")) return await readBytes(data.slice(1), MAX_DATA);
  return encoder.encode(data);
}

/** The result as it is printed: text, or with JSON also bytes. @throws {EnclaveError} `usage` */
function shownResult(opened: Uint8Array, asJson: boolean): string {
  let text: string | undefined;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(opened);
  } catch {
    // It is not UTF-8 text.
  }
  if (!asJson && text !== undefined) return text;
  if (asJson) {
    return JSON.stringify({
      status: "ok",
      ...(text === undefined ? { data_base64: encodeBase64(opened) } : { data: text }),
    });
  }
  throw new UsageError("The result is not UTF-8 text", "Use --json: data_base64 has the bytes.");
}

/** What `process` sends: an already sealed blob, or data and the key to seal it with. */
type ProcessInput =
  | { readonly ciphertext: string; readonly requestId: string | undefined }
  | { readonly key: SecretBytes; readonly data: Uint8Array<ArrayBuffer> };

/** @throws {EnclaveError} `usage` */
async function processInput(options: Options): Promise<ProcessInput> {
  const ciphertext = options.text("ciphertext");
  const data = options.text("data");
  const file = options.text("tsk-file");
  const requestId = options.text("request-id");
  if (ciphertext !== undefined) return { ciphertext, requestId };
  if (requestId !== undefined) throw new UsageError("--request-id goes with --ciphertext");
  if (data === undefined || file === undefined) {
    throw new UsageError("Give --data with --tsk-file, or --ciphertext");
  }
  const bytes = await dataOf(data);
  return { key: await readSessionKey(file), data: bytes };
}

async function process(client: Requester, input: ProcessInput, options: Options): Promise<string> {
  if ("ciphertext" in input) {
    const { ciphertext, requestId } = input;
    const bound = requestId === undefined ? {} : { bind: true, request_id: requestId };
    const reply = await client.request({ type: "process", ciphertext, ...bound });
    return options.on("json") ? JSON.stringify(reply) : oneLine(String(reply["result"]));
  }
  const { key, data } = input;
  const opened = await processData(client, { key: key.expose(), data }, { bind: !options.on("unbound") });
  return shownResult(opened, options.on("json"));
}

/** The `attest` request. Its nonce is printed with the reply, so that the document can be stored and verified (`denclavectl attest verify`). */
function attestRequest(options: Options): WireObject {
  const nonce = nonceOf(options) ?? crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
  const userData = options.text("user-data");
  return {
    type: "attest",
    nonce: encodeBase64(nonce),
    ...(userData === undefined ? {} : { user_data: encodeBase64(encoder.encode(userData)) }),
  };
}

async function clientKeyOf(options: Options): Promise<HpkeKeyPair | undefined> {
  const file = options.text("client-key-file");
  if (file === undefined) return undefined;
  try {
    using bytes = new SecretBytes(await readSecretFile(file, MAX_PEM_LENGTH));
    const [, base64] = PEM.exec(new TextDecoder().decode(bytes.expose())) ?? [];
    if (base64 === undefined) throw new TypeError("it is not a private key in PEM");
    using der = new SecretBytes(decodeBase64(base64.replace(/\s/g, "")));
    return await importKeyPair(der.expose());
  } catch (thrown) {
    throw new UsageError(
      `Cannot read a private key from ${file}: ${messageOf(thrown)}`,
      "Make one with openssl genpkey -algorithm X25519 -out FILE.",
    );
  }
}

/** The expected enclave; undefined if nothing is verified. @throws {UsageError} */
async function enclaveToVerify(
  command: Command,
  options: Options,
  io: CtlIo,
): Promise<ExpectedEnclave | undefined> {
  const isAttest = command === "attest" && !options.on("insecure-skip-verification");
  if (isAttest || options.on("sealed")) return await expectedEnclave(options, io);
  if (namesEnclave(options)) {
    throw new UsageError("--pcr, --measurements and --root go with --sealed, or attest");
  }
  return undefined;
}

async function connect(
  options: Options,
  expected: ExpectedEnclave | undefined,
): Promise<Requester & Disposable> {
  const address = parseAddress(options.text("connect") ?? "");
  const connection: ClientOptions = {
    framing: options.choice("framing", ["u32be", "u64le", "raw"]),
    timeoutMs: options.number("timeout-ms", { min: 1, max: 600_000 }),
  };
  if (!options.on("sealed") || expected === undefined) {
    if (options.text("client-key-file") !== undefined) {
      throw new UsageError("--client-key-file goes with --sealed");
    }
    return await Client.connect(address, connection);
  }
  const clientKey = await clientKeyOf(options);
  return await SealedClient.connect(address, {
    ...connection,
    ...expected,
    ...(clientKey === undefined ? {} : { clientKey }),
  });
}

function requestOf(command: Command, options: Options): WireObject {
  if (command === "configure") return configureRequest(options);
  if (command === "attest") return attestRequest(options);
  if (command === "logs") {
    const security = options.on("security");
    const limit = options.number("limit", { min: 1, max: 500 });
    return { type: command, security, ...(security && !options.isFlag("limit") ? {} : { limit }) };
  }
  return { type: command };
}

/** @throws {AttestationError} whose code says which check failed. */
async function verifyReply(
  { request, reply }: { readonly request: WireObject; readonly reply: WireObject },
  expected: ExpectedEnclave,
): Promise<void> {
  const userData = optionalString(request, "user_data");
  await verifyAttestReply(reply, {
    ...expected,
    nonce: decodeBase64(requiredString(request, "nonce", "base64")),
    userData: userData === undefined ? undefined : decodeBase64(userData),
  });
}

async function run(command: Command, options: Options, io: CtlIo): Promise<string> {
  // Report missing options before connecting.
  const request = requestOf(command, options);
  const credentials = command === "configure" ? credentialSource(options, io) : undefined;
  await credentials?.get();
  const expected = await enclaveToVerify(command, options, io);
  using stack = new DisposableStack();
  const input = command === "process" ? await processInput(options) : undefined;
  if (input !== undefined && "key" in input) stack.use(input.key);
  using client = await connect(options, expected);
  if (input !== undefined) return await process(client, input, options);
  const reply = credentials === undefined
    ? await client.request(request)
    : orThrow(await exchangeWithCredentials(client, credentials, request));
  if (command === "logs" && !options.on("json")) {
    return (reply["events"] as unknown[]).map((event) => JSON.stringify(event)).join("\n");
  }
  if (command === "attest" && expected !== undefined) {
    if (!options.on("insecure-skip-verification")) await verifyReply({ request, reply }, expected);
  }
  // A document cannot be checked for freshness without its nonce.
  const shown = command === "attest" ? { ...reply, nonce: request["nonce"] } : reply;
  return options.on("json") ? JSON.stringify(shown) : JSON.stringify(shown, null, 2);
}

/** Runs one of the {@link CLIENT_COMMANDS}. */
export async function runClient(name: string, argv: readonly string[], io: CtlIo): Promise<number> {
  const command = CLIENT_COMMANDS.find((candidate) => candidate === name);
  if (command === undefined) throw new UsageError("Which command?", `One of: ${CLIENT_COMMANDS.join(", ")}.`);
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const text = `${await run(command, options, io)}\n`;
  // The result of the workflow is the user's own data.
  if (command === "process" && !options.on("json")) io.data(text);
  else io.stdout(text);
  return EXIT.ok;
}
