/**
 * `denclavectl attest verify`: checks that a document comes from the expected enclave.
 *
 * @module
 */
import { decodeBase64, encodeHex } from "@std/encoding";
import type { AttestationDocument } from "../../shared/attestation/payload.ts";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import { messageOf } from "../../shared/errors.ts";
import { formatFields } from "../terminal/columns.ts";
import { type Command, onePositional, printResult } from "../terminal/command.ts";
import { readBytes } from "../terminal/io.ts";
import { EXPECT_OPTIONS, JSON_OPTION, NONCE_OPTION } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { expectedEnclave } from "./attestation_options.ts";
import { DOCUMENT_FORMS, documentOf } from "./document_input.ts";

/** A document has 16 KiB at most; in hex, in a reply, a little more than twice that. */
const MAX_LENGTH = 64 * 1024;

/** `attest verify` */
export const ATTEST_VERIFY: Command = {
  path: "attest verify",
  summary: "verify an attestation document up to AWS's root certificate",
  usage: "<file>|- [options]",
  about:
    `Verifies an attestation document up to AWS's root, or the root given with --root. The file holds the document, its hex, base64 or
base64url, or JSON with one of these as attestation_document or attestation_doc.
Needs PCR0 (or PCR8) and the nonce of the request. With --at a stored document is verified; it proves where it comes from, and is not fresh.`,
  options: [
    NONCE_OPTION,
    ...EXPECT_OPTIONS,
    {
      name: "at",
      value: "TIME",
      help: "for a stored document: verify as of this time (ISO 8601), or as of its own timestamp (made)",
    },
    { name: "insecure-skip-nonce", help: "for development: accept a document that may be a replay" },
    JSON_OPTION,
  ],
  positionals: 1,
  run: verify,
};

async function readDocument(options: Options): Promise<Uint8Array<ArrayBuffer>> {
  const file = onePositional(options, "Which document?", "Give one file, or - for standard input.");
  const bytes = await readBytes(file, MAX_LENGTH);
  try {
    return documentOf(bytes);
  } catch (thrown) {
    throw new UsageError(`Cannot read a document from ${file}: ${messageOf(thrown)}`, DOCUMENT_FORMS);
  }
}

/** The nonce of `--nonce`. @throws {UsageError} */
export function nonceOf(options: Options): Uint8Array<ArrayBuffer> | undefined {
  const text = options.text("nonce");
  if (text === undefined) return undefined;
  try {
    const nonce = decodeBase64(text);
    if (nonce.length > 0) return nonce;
  } catch {
    // The error below reports it.
  }
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --nonce`,
    "Give the request's nonce, in base64.",
  );
}

/** The time of `--at`. @throws {UsageError} */
export function verificationTime(options: Options): Date | "made" | undefined {
  const text = options.text("at");
  if (text === undefined || text === "made") return text;
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --at`,
    "Give a time such as 2026-01-02T03:04:05Z, or made.",
  );
}

function fieldsOf(found: AttestationDocument, isFresh: boolean): Readonly<Record<string, string>> {
  const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? "-" : encodeHex(bytes));
  return {
    module: found.moduleId,
    made: found.timestamp.toISOString(),
    fresh: isFresh ? "yes" : "no",
    debug: found.debug ? "yes" : "no",
    nonce: hex(found.nonce),
    public_key: hex(found.publicKey),
    user_data: hex(found.userData),
    ...Object.fromEntries(
      [...found.pcrs].filter(([, pcr]) => /[^0]/.test(pcr)).map(([index, pcr]) => [`PCR${index}`, pcr]),
    ),
  };
}

async function verify(options: Options, io: CtlIo): Promise<number> {
  const expected = await expectedEnclave(options, io);
  const nonce = nonceOf(options);
  const at = verificationTime(options);
  const found = await expected.verify(await readDocument(options), {
    ...expected,
    insecureSkipNonce: options.on("insecure-skip-nonce"),
    ...(nonce === undefined ? {} : { nonce }),
    ...(at === undefined ? {} : { at }),
  });
  const fields = fieldsOf(found, nonce !== undefined && at === undefined);
  printResult(options, io, { json: fields, text: formatFields(fields) });
  if (nonce === undefined) {
    io.stderr("Warning: the nonce was not checked, so the document may be a replay.\n");
  }
  if (at !== undefined) {
    io.stderr("Not fresh: the document proves its origin, but not that the enclave is running now.\n");
  }
  return 0;
}
