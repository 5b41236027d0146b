/**
 * `denclavectl attest verify`: checks that a document comes from the expected enclave.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import type { AttestationDocument } from "../../shared/attestation/payload.ts";
import { expectedEnclave, nonceOf, verificationTime, VERIFY_OPTIONS } from "./attestation_options.ts";
import {
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { formatFields } from "../terminal/columns.ts";
import { messageOf } from "../../shared/errors.ts";
import { DOCUMENT_FORMS, documentOf } from "./document_input.ts";
import { type CtlIo, readBytes } from "../terminal/io.ts";

/** Commands of the group. */
export const ATTEST_COMMANDS = ["verify"] as const;

const SPECS = [
  ...VERIFY_OPTIONS,
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: denclavectl attest verify <file>|- [options]

Verifies an attestation document up to AWS's root, or the root given with --root. The file holds the document, its hex, base64 or
base64url, or JSON with one of these as attestation_document or attestation_doc.
Needs PCR0 (or PCR8) and the nonce of the request. With --at a stored document is verified; it proves where it comes from, and is not fresh.

${helpLines(SPECS)}
`;

/** A document has 16 KiB at most; in hex, in a reply, a little more than twice that. */
const MAX_LENGTH = 64 * 1024;

async function readDocument(options: Options): Promise<Uint8Array<ArrayBuffer>> {
  const [file] = options.positionals;
  if (file === undefined) {
    throw new UsageError("Which document?", "Give one file, or - for standard input.");
  }
  const bytes = await readBytes(file, MAX_LENGTH);
  try {
    return documentOf(bytes);
  } catch (thrown) {
    throw new UsageError(`Cannot read a document from ${file}: ${messageOf(thrown)}`, DOCUMENT_FORMS);
  }
}

function fieldsOf(
  found: AttestationDocument,
  { fresh }: { readonly fresh: boolean },
): Readonly<Record<string, string>> {
  const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? "-" : encodeHex(bytes));
  return {
    module: found.moduleId,
    made: found.timestamp.toISOString(),
    fresh: fresh ? "yes" : "no",
    debug: found.debug ? "yes" : "no",
    nonce: hex(found.nonce),
    public_key: hex(found.publicKey),
    user_data: hex(found.userData),
    ...Object.fromEntries(
      [...found.pcrs].filter(([, value]) => /[^0]/.test(value)).map(([index, value]) => [
        `PCR${index}`,
        value,
      ]),
    ),
  };
}

/** Runs a command of the group. */
export async function runAttest(_command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env, { positionals: 1 });
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const expected = await expectedEnclave(options, io);
  const nonce = nonceOf(options);
  const at = verificationTime(options);
  const insecureSkipNonce = options.on("insecure-skip-nonce");
  const found = await expected.verify(await readDocument(options), {
    ...expected,
    insecureSkipNonce,
    ...(nonce === undefined ? {} : { nonce }),
    ...(at === undefined ? {} : { at }),
  });
  const fields = fieldsOf(found, { fresh: nonce !== undefined && at === undefined });
  io.stdout(options.on("json") ? `${JSON.stringify(fields, null, 2)}\n` : `${formatFields(fields)}\n`);
  if (nonce === undefined) {
    io.stderr("Warning: the nonce was not checked, so the document may be a replay.\n");
  }
  if (at !== undefined) {
    io.stderr("Not fresh: the document proves its origin, but not that the enclave is running now.\n");
  }
  return EXIT.ok;
}
