/**
 * `denclavectl client`: the requests that a parent instance sends to the session key service.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { EXIT, type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { NONCE_LENGTH as BLOB_NONCE_LENGTH, TAG_LENGTH } from "../../shared/crypto/sealing.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { messageOf } from "../../shared/errors.ts";
import { readSecretFile } from "../../shared/files.ts";
import { type HpkeKeyPair, importKeyPair } from "../../shared/sealed/mod.ts";
import { writeAll } from "../../shared/write_all.ts";
import { DEFAULT_MAX_LENGTH } from "../../shared/wire/framing.ts";
import { type WireObject } from "../../shared/wire/messages.ts";
import { verifyAttestReply } from "../client/attest_reply.ts";
import { Client, type ClientOptions, orThrow, type Requester, ServiceError } from "../client/client.ts";
import { exchangeWithCredentials } from "../client/credentialed.ts";
import { processData } from "../client/process.ts";
import { ReceiptClient, type Receipted } from "../client/receipt_client.ts";
import { SealedClient } from "../client/sealed_client.ts";
import { readSessionKey } from "../client/session_keys.ts";
import { type Command, required } from "../terminal/command.ts";
import { credentialSource, enclaveAddress, readBytes, timeoutOf } from "../terminal/io.ts";
import {
  ENCLAVE_OPTIONS,
  EPOCH_OPTION,
  EXPECT_OPTIONS,
  JSON_OPTION,
  KEY_OPTION,
  NONCE_OPTION,
  REGION_OPTION,
  TSK_FILE_OPTION,
  UNVERIFIED_OPTION,
} from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { nonceOf } from "./attest.ts";
import { enclaveToVerify, type ExpectedEnclave } from "./attestation_options.ts";

const CONNECTION_OPTIONS: readonly OptionSpec[] = [
  ...ENCLAVE_OPTIONS,
  { name: "framing", value: "NAME", default: "u32be", help: "framing: u32be, u64le or raw" },
  { name: "sealed", help: "seal the request for the enclave after verifying its attestation" },
  ...EXPECT_OPTIONS,
  {
    name: "client-key-file",
    value: "FILE",
    help: "with --sealed: this client's private key (openssl genpkey -algorithm X25519 -out FILE)",
  },
  JSON_OPTION,
];

const NONCE_LENGTH = 32;
/** Room for the other fields of a `process` request. */
const FIELDS_LENGTH = 256;
/** Data whose blob, in hex, still fits the largest message that a service takes unless configured. Bytes. */
const MAX_DATA = (DEFAULT_MAX_LENGTH - FIELDS_LENGTH) / 2 - BLOB_NONCE_LENGTH - TAG_LENGTH;
const MAX_PEM_LENGTH = 1_024;
const PEM = /^-----BEGIN PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]{1,200})-----END PRIVATE KEY-----\s*$/;

const encoder = new TextEncoder();

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

async function connect(
  options: Options,
  expected: ExpectedEnclave | undefined,
): Promise<Requester & Disposable> {
  const address = enclaveAddress(options);
  const connection: ClientOptions = {
    framing: options.choice("framing", ["u32be", "u64le", "raw"]),
    timeoutMs: timeoutOf(options),
  };
  if (!options.on("sealed") || expected === undefined) {
    if (options.text("client-key-file") === undefined) return await Client.connect(address, connection);
    throw new UsageError("--client-key-file goes with --sealed");
  }
  const clientKey = await clientKeyOf(options);
  return await SealedClient.connect(address, {
    ...connection,
    ...expected,
    ...(clientKey === undefined ? {} : { clientKey }),
  });
}

/** The enclave to verify: for `--sealed`, or for `attest`. */
function sealedFor(options: Options, io: CtlIo, isVerified = false): Promise<ExpectedEnclave | undefined> {
  const wanted = isVerified || options.on("sealed");
  return enclaveToVerify(options, io, { wanted, needed: "--sealed, --receipt or attest" });
}

/** Prints a reply. Its JSON stays on one line with `--json`. */
function show(options: Options, io: CtlIo, reply: unknown): number {
  io.stdout(`${options.on("json") ? JSON.stringify(reply) : JSON.stringify(reply, null, 2)}\n`);
  return EXIT.ok;
}

/** A command that sends one request and prints the reply. */
function simple(name: string, summary: string): Command {
  return {
    path: `client ${name}`,
    summary,
    usage: "[options]",
    options: CONNECTION_OPTIONS,
    run: async (options, io) => {
      using client = await connect(options, await sealedFor(options, io));
      return show(options, io, await client.request({ type: name }));
    },
  };
}

/** How long one request of `--follow` waits for an event. Milliseconds. */
const FOLLOW_MS = 30_000;

async function logs(options: Options, io: CtlIo): Promise<number> {
  const security = options.on("security");
  const limit = options.number("limit", { min: 1, max: 500 });
  using client = await connect(options, await sealedFor(options, io));
  let reply = await client.request({
    type: "logs",
    security,
    ...(security && !options.isFlag("limit") ? {} : { limit }),
  });
  const isFollowed = options.on("follow");
  if (options.on("json") && !isFollowed) return show(options, io, reply);
  const wait_ms = Math.min(FOLLOW_MS, Math.floor(timeoutOf(options) / 2));
  for (let after = 0;;) {
    const events = reply["events"] as readonly Readonly<Record<string, unknown>>[];
    const dropped = Number(reply["dropped"] ?? 0);
    const lines = [...(dropped > 0 ? [{ event: "dropped", lines: dropped }] : []), ...events];
    if (lines.length > 0 || !isFollowed) {
      io.stdout(`${lines.map((line) => JSON.stringify(line)).join("\n")}\n`);
    }
    if (!isFollowed) return EXIT.ok;
    after = Number(events.at(-1)?.["seq"] ?? after);
    reply = await client.request({ type: "logs", after, boot_id: reply["boot_id"], wait_ms });
  }
}

/** Prints the reply with the request's nonce, so that the document can be stored and verified (`denclavectl attest verify`). */
async function attest(options: Options, io: CtlIo): Promise<number> {
  const nonce = nonceOf(options) ?? crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
  const text = options.text("user-data");
  const userData = text === undefined ? undefined : encoder.encode(text);
  const isVerified = !options.on("insecure-skip-verification");
  const expected = await sealedFor(options, io, isVerified);
  using client = await connect(options, expected);
  const reply = await client.request({
    type: "attest",
    nonce: encodeBase64(nonce),
    ...(userData === undefined ? {} : { user_data: encodeBase64(userData) }),
  });
  if (expected !== undefined && isVerified) {
    await verifyAttestReply(reply, { ...expected, nonce, userData });
  }
  return show(options, io, { ...reply, nonce: encodeBase64(nonce) });
}

/** Sends the wrapped session key, with credentials. */
async function configure(options: Options, io: CtlIo): Promise<number> {
  const key = options.text("key");
  const epoch = options.text("epoch");
  const request: WireObject = {
    type: "configure",
    encrypted_tsk: required(
      options,
      "encrypted-tsk",
      "It is what denclavectl tsk create prints: the session key, encrypted by KMS.",
    ),
    ...(options.isFlag("region") ? { region: options.text("region") } : {}),
    ...(key === undefined ? {} : { kms_key_id: key }),
    ...(epoch === undefined
      ? {}
      : { epoch: options.number("epoch", { min: 0, max: Number.MAX_SAFE_INTEGER }) }),
  };
  // Without credentials there is no need to connect.
  const credentials = credentialSource(options, io);
  await credentials.get();
  using client = await connect(options, await sealedFor(options, io));
  return show(options, io, orThrow(await exchangeWithCredentials(client, credentials, request)));
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
  if (!asJson) {
    throw new UsageError("The result is not UTF-8 text", "Use --json: data_base64 has the bytes.");
  }
  const data = text === undefined ? { data_base64: encodeBase64(opened) } : { data: text };
  return JSON.stringify({ status: "ok", ...data });
}

/** Sends a blob that is sealed already. */
async function processBlob(ciphertext: string, options: Options, io: CtlIo): Promise<string> {
  const requestId = options.text("request-id");
  using client = await connect(options, await sealedFor(options, io));
  const bound = requestId === undefined ? {} : { bind: true, request_id: requestId };
  const reply = await client.request({ type: "process", ciphertext, ...bound });
  return options.on("json") ? JSON.stringify(reply) : oneLine(String(reply["result"]));
}

/**
 * Has data processed, and writes what anybody needs to verify the answer, with what opens the commitments.
 *
 * @throws {UsageError} when the file exists or cannot be written: nothing is sent then.
 */
async function processForReceipt(
  file: string,
  client: ReceiptClient,
  asked: Parameters<ReceiptClient["process"]>[0],
): Promise<Receipted> {
  using output = await Deno.open(file, { write: true, createNew: true, mode: 0o600 }).catch((thrown) => {
    throw new UsageError(
      `Cannot write ${file}: ${messageOf(thrown)}`,
      "Name a file that does not exist yet.",
    );
  });
  try {
    const answer = await client.process(asked);
    const { receipt, document, salts } = answer;
    const parts = {
      receipt: encodeBase64(receipt),
      attestation_document: encodeBase64(document),
      ...(salts && { result_salt: encodeBase64(salts.result), input_salt: encodeBase64(salts.input) }),
    };
    writeAll((bytes) => output.writeSync(bytes), encoder.encode(`${JSON.stringify(parts, null, 2)}\n`));
    return answer;
  } catch (thrown) {
    await Deno.remove(file);
    throw thrown;
  }
}

/** Seals data, sends them and opens the result. */
async function processPlain(options: Options, io: CtlIo): Promise<string> {
  const data = options.text("data");
  const file = options.text("tsk-file");
  if (options.text("request-id") !== undefined) throw new UsageError("--request-id goes with --ciphertext");
  if (data === undefined || file === undefined) {
    throw new UsageError("Give --data with --tsk-file, or --ciphertext");
  }
  const bytes = await dataOf(data);
  const receiptFile = options.text("receipt");
  const expected = await sealedFor(options, io, receiptFile !== undefined);
  using key = await readSessionKey(file);
  using client = await connect(options, expected);
  if (expected !== undefined && receiptFile !== undefined) {
    const asked = { key: key.expose(), data: bytes, bind: !options.on("unbound") };
    const answer = await processForReceipt(receiptFile, new ReceiptClient(client, expected), asked);
    if (answer.claims.outcome !== "ok") throw new ServiceError(answer.reply);
    return shownResult(answer.result, options.on("json"));
  }
  const opened = await processData(client, { key: key.expose(), data: bytes }, {
    bind: !options.on("unbound"),
  });
  return shownResult(opened, options.on("json"));
}

async function process(options: Options, io: CtlIo): Promise<number> {
  const blob = options.text("ciphertext");
  const text = blob === undefined ? await processPlain(options, io) : await processBlob(blob, options, io);
  // The result of the workflow is the user's own data.
  if (options.on("json")) io.stdout(`${text}\n`);
  else io.data(`${text}\n`);
  return EXIT.ok;
}

/** The commands of the group. */
export const CLIENT_COMMANDS: readonly Command[] = [
  simple("ping", "ask whether the service answers"),
  simple("health", "show the service's state, warnings and self-test"),
  simple("metrics", "show the service's counters"),
  {
    path: "client logs",
    summary: "show the service's last events",
    usage: "[options]",
    options: [
      { name: "limit", value: "N", default: "100", help: "maximum number of events" },
      { name: "follow", help: "print new events as they come, until the connection ends" },
      { name: "security", help: "only events about keys and refusals, which no flood displaces" },
      ...CONNECTION_OPTIONS,
    ],
    run: logs,
  },
  {
    path: "client attest",
    summary: "fetch an attestation document and verify it",
    usage: "-m <file> [options]",
    about:
      "Fetches an attestation document and verifies it. Needs the enclave's PCR0 (or PCR8), from -m or --pcr.",
    options: [
      { ...NONCE_OPTION, help: `${NONCE_OPTION.help}; random, unless given` },
      {
        name: "user-data",
        value: "TEXT",
        help: "text to include in the document as user data, up to 256 bytes",
      },
      UNVERIFIED_OPTION,
      ...CONNECTION_OPTIONS,
    ],
    run: attest,
  },
  {
    path: "client configure",
    summary: "give the service a session key",
    usage: "--encrypted-tsk BASE64 [options]",
    about:
      `Gives the service a session key, with the credentials with which it asks KMS to decrypt the key. They come from where AWS's own tools
take them: environment, profile, container, instance role (IMDSv2).`,
    options: [
      { name: "encrypted-tsk", value: "BASE64", help: "the session key, wrapped by KMS" },
      { ...KEY_OPTION, help: "the KMS key, ARN or id; needed if the service allows several" },
      REGION_OPTION,
      EPOCH_OPTION,
      ...CONNECTION_OPTIONS,
    ],
    run: configure,
  },
  {
    path: "client process",
    summary: "seal data, have the service process them, open the result",
    usage: ["--tsk-file FILE --data TEXT [options]", "--ciphertext HEX [options]"],
    options: [
      TSK_FILE_OPTION,
      { name: "data", value: "TEXT", help: "the data to seal and send; - for stdin, @FILE for a file" },
      { name: "unbound", help: "use the old blob format, for a service that supports no other" },
      {
        name: "receipt",
        value: "FILE",
        help: "ask for a receipt, verify it, and write it with its document and salts (secret, mode 0600)",
      },
      { name: "ciphertext", value: "HEX", help: "an already sealed blob" },
      {
        name: "request-id",
        value: "HEX",
        help: "the request id that the blob of --ciphertext is bound to",
      },
      ...CONNECTION_OPTIONS,
    ],
    run: process,
  },
];
