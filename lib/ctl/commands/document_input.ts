/**
 * An attestation document in the forms in which tools print it: the bytes themselves, hex, base64, base64url,
 * or JSON with one of these.
 *
 * @module
 */
import { decodeBase64, decodeHex, encodeHex } from "@std/encoding";

type Bytes = Uint8Array<ArrayBuffer>;

/** For the hint of an error. */
export const DOCUMENT_FORMS =
  "It must be the document itself, its hex, base64 or base64url, or JSON with one of these as attestation_document or attestation_doc.";

/** CBOR's major types, in the first three bits. */
const [ARRAY, MAP, TAG] = [4, 5, 6] as const;
/** The names of a field with a document, without underscores, in lower case. */
const FIELDS: readonly string[] = ["attestationdocument", "attestationdoc"];
/** Fields that are named in an error. */
const MAX_NAMED = 8;

/**
 * Reads a document from any of its forms.
 *
 * @param fields of JSON that may have it: without underscores, in lower case
 * @throws {SyntaxError} that names what was given instead.
 */
export function documentOf(bytes: Bytes, fields: readonly string[] = FIELDS): Bytes {
  let text: string;
  try {
    // No COSE_Sign1 is UTF-8.
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes).trim();
  } catch {
    return checkBytes(bytes, "it is");
  }
  return /^[{["]/.test(text) ? ofJson(text, fields) : ofText(text);
}

function ofJson(text: string, fields: readonly string[]): Bytes {
  let json: string | unknown[] | Record<string, unknown>;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new SyntaxError("it begins as JSON and is not valid", { cause: thrown });
  }
  if (typeof json === "string") return ofText(json);
  if (Array.isArray(json)) throw new SyntaxError("it is a JSON list");
  const name = Object.keys(json).find((key) => fields.includes(key.replaceAll("_", "").toLowerCase()));
  const value = name === undefined ? undefined : json[name];
  if (typeof value === "string") return ofText(value);
  if (name !== undefined) throw new SyntaxError(`its ${name} is not a text`);
  const names = Object.keys(json).filter((key) => /^\w{1,40}$/.test(key)).slice(0, MAX_NAMED);
  throw new SyntaxError(`it is JSON without a document; it has ${names.join(", ") || "no fields"}`);
}

function ofText(text: string): Bytes {
  const [, label] = /^-----BEGIN ([A-Z0-9 ]{1,40})-----/.exec(text) ?? [];
  if (label !== undefined) throw new SyntaxError(`it is PEM of a ${label.toLowerCase()}`);
  const digits = text.replace(/^0x/i, "").replace(/\s/g, "");
  if (digits === "") throw new SyntaxError("it is empty");
  try {
    if (/^[0-9a-f]+$/i.test(digits)) return checkBytes(decodeHex(digits), "it is hex of");
    const lines = text.replace(/\s*\n/g, ""); // base64(1) wraps lines
    const standard = lines.replaceAll("-", "+").replaceAll("_", "/");
    return checkBytes(decodeBase64(standard), "it is base64 of");
  } catch (thrown) {
    if (thrown instanceof SyntaxError) throw thrown;
    throw new SyntaxError("it is text, but neither hex nor base64, or it is cut off", { cause: thrown });
  }
}

/** Passes what may be a COSE_Sign1, whose verification says the rest. */
function checkBytes(bytes: Bytes, prefix: string): Bytes {
  const major = (bytes[0] ?? 0) >> 5;
  if (major === ARRAY || major === TAG) return bytes;
  if (major === MAP) {
    throw new SyntaxError(`${prefix} a CBOR map, such as the payload of a document without its signature`);
  }
  const beginning = encodeHex(bytes.subarray(0, 4));
  throw new SyntaxError(`${prefix} bytes that are not a COSE_Sign1: they begin with ${beginning}`);
}
