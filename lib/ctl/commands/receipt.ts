/**
 * `denclavectl receipt verify`: what an enclave answered, proven to anybody.
 *
 * @module
 */
import { decodeBase64, encodeHex } from "@std/encoding";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import { messageOf } from "../../shared/errors.ts";
import { type Disclosed, verifyReceipt, verifyReceiptDocument } from "../../shared/receipts/verify.ts";
import { formatFields } from "../terminal/columns.ts";
import { type Command, onePositional, printResult, required } from "../terminal/command.ts";
import { readBytes } from "../terminal/io.ts";
import { EXPECT_OPTIONS, JSON_OPTION } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { expectedEnclave } from "./attestation_options.ts";
import { documentOf } from "./document_input.ts";

/** In hex or in a reply, a document has a little more than 32 KiB. */
const MAX_LENGTH = 64 * 1024;
/** Of a result or an input. */
const MAX_DISCLOSED = 64 * 1024 * 1024;

/** `receipt verify` */
export const RECEIPT_VERIFY: Command = {
  path: "receipt verify",
  summary: "verify offline what an enclave answered, by its receipt",
  usage: "<file>|- --document <file> [options]",
  about:
    `Verifies a receipt with the attestation document of its key, up to AWS's root, or the root given with --root. The files hold the bytes, or their
hex, base64 or base64url, or JSON with one of these as receipt and attestation_document: one file can have both. Needs PCR0 (or PCR8).
With --result or --input and its salt, also that the receipt is about these bytes; a signature of a plain master_key.sign has no salt.`,
  options: [
    { name: "document", value: "FILE", help: "the attestation document of the receipt key" },
    ...EXPECT_OPTIONS,
    {
      name: "result",
      value: "FILE",
      help: "the result: what the workflow returned, or the signature's bytes",
    },
    { name: "salt", value: "BASE64", help: "the salt of the result" },
    { name: "input", value: "FILE", help: "the input: the data that was opened, or the digest" },
    { name: "input-salt", value: "BASE64", help: "the salt of the input" },
    { name: "request", value: "FILE", help: "the bytes of the request's blob" },
    { name: "nonce", value: "BASE64", help: "the receipt's nonce, of the request" },
    JSON_OPTION,
  ],
  positionals: 1,
  run: verify,
};

async function bytesFrom(file: string, what: "receipt" | "document"): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readBytes(file, MAX_LENGTH);
  try {
    return what === "receipt" ? documentOf(bytes, ["receipt"]) : documentOf(bytes);
  } catch (thrown) {
    throw new UsageError(
      `Cannot read a ${what} from ${file}: ${messageOf(thrown)}`,
      `It must be the ${what} itself, its hex, base64 or base64url, or JSON with one of these.`,
    );
  }
}

function base64Of(options: Options, name: string): Uint8Array<ArrayBuffer> | undefined {
  const text = options.text(name);
  if (text === undefined) return undefined;
  try {
    return decodeBase64(text);
  } catch {
    throw new UsageError(`Cannot use ${JSON.stringify(text)} for --${name}`, "Give it in base64.");
  }
}

async function disclosed(
  options: Options,
  name: "result" | "input",
  saltName: string,
): Promise<Disclosed | undefined> {
  const file = options.text(name);
  const salt = base64Of(options, saltName);
  if (file !== undefined) return { bytes: await readBytes(file, MAX_DISCLOSED), salt };
  if (salt !== undefined) throw new UsageError(`--${saltName} goes with --${name}`);
  return undefined;
}

async function verify(options: Options, io: CtlIo): Promise<number> {
  const file = onePositional(options, "Which receipt?", "Give one file, or - for standard input.");
  const document = required(options, "document", "It is what attest with the purpose receipt gives.");
  const { pcrs, allowDebug, insecureSkipPcrs, verify } = await expectedEnclave(options, io);
  const [result, input] = [
    await disclosed(options, "result", "salt"),
    await disclosed(options, "input", "input-salt"),
  ];
  const request = options.text("request");
  const nonce = base64Of(options, "nonce");
  const receipt = await bytesFrom(file, "receipt");
  const key = await verifyReceiptDocument(await bytesFrom(document, "document"), {
    pcrs,
    allowDebug,
    insecureSkipPcrs,
    verify,
  });
  const found = await verifyReceipt(receipt, key, {
    ...(result && { result }),
    ...(input && { input }),
    ...(nonce && { nonce }),
    ...(request !== undefined && { request: await readBytes(request, MAX_DISCLOSED) }),
  });
  const checked = (given: unknown) => given === undefined ? "not given" : "verified";
  const fields = {
    type: found.type,
    outcome: found.outcome,
    issued: found.issuedAt.toISOString(),
    result: checked(result),
    input: checked(input),
    request: checked(request),
    nonce: encodeHex(found.nonce),
    module: key.document.moduleId,
    attested: key.document.timestamp.toISOString(),
    PCR0: key.document.pcrs.get(0) ?? "-",
    configuration: encodeHex(found.configurationHash),
  };
  printResult(options, io, { json: fields, text: formatFields(fields) });
  return 0;
}
