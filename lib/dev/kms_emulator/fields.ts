/**
 * Parses the parameters of a request, with KMS's types and limits.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import type { EncryptionContext } from "../../enclave/kms/kms.ts";
import { field, isObject, type JsonObject } from "../../shared/json.ts";
import { invalid } from "./errors.ts";

/** A request's unchecked parameters. */
export type Fields = JsonObject;

/** KMS's limits. */
const MAX_CONTEXT_LENGTH = 8192;
const MAX_CONTEXT_PAIRS = 256;

/** Reads the body of a request. @throws {KmsRefusal} `SerializationException` */
export function parseFields(body: Uint8Array): Fields {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    if (isObject(parsed)) return { ...parsed };
  } catch {
    // The JSON parser's message would quote the request, which may hold a plaintext.
  }
  throw invalid("The body of the request is not a JSON object");
}

/** A member; null counts as none. */
function own(fields: Fields, name: string): unknown {
  return field(fields, name) ?? undefined;
}

/** A text, or undefined where there is none. @throws {KmsRefusal} `ValidationException` */
export function optionalText(fields: Fields, name: string, max: number): string | undefined {
  const value = own(fields, name);
  if (value === undefined) return undefined;
  if (typeof value === "string" && value.length >= 1 && value.length <= max) return value;
  throw invalid(`${name} is not a text of 1 to ${max} characters`);
}

/** A text. @throws {KmsRefusal} `ValidationException` */
export function text(fields: Fields, name: string, max: number): string {
  const value = optionalText(fields, name, max);
  if (value === undefined) throw invalid(`${name} is missing`);
  return value;
}

/** One of a few texts, or undefined where there is none. @throws {KmsRefusal} `ValidationException` */
export function optionalChoice<T extends string>(
  fields: Fields,
  name: string,
  choices: readonly T[],
): T | undefined {
  const value = own(fields, name);
  if (value === undefined) return undefined;
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  throw invalid(`${name} is not one of: ${choices.join(", ")}`);
}

/** A whole number, or undefined where there is none. @throws {KmsRefusal} `ValidationException` */
export function optionalNumber(
  fields: Fields,
  name: string,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  const value = own(fields, name);
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${name} is not a whole number of ${min} to ${max}`);
}

/** Whether a switch is on. @throws {KmsRefusal} `ValidationException` */
export function flag(fields: Fields, name: string): boolean {
  const value = own(fields, name) ?? false;
  if (typeof value === "boolean") return value;
  throw invalid(`${name} is neither true nor false`);
}

/** Bytes, in base64. Errors do not quote them. @throws {KmsRefusal} `ValidationException` */
export function bytes(fields: Fields, name: string, max: number): Uint8Array<ArrayBuffer> {
  const value = own(fields, name);
  if (typeof value !== "string") throw invalid(`${name} is missing or not base64`);
  let decoded: Uint8Array<ArrayBuffer>;
  try {
    decoded = decodeBase64(value);
  } catch {
    throw invalid(`${name} is not base64`);
  }
  if (decoded.length >= 1 && decoded.length <= max) return decoded;
  throw invalid(`${name} does not have 1 to ${max} bytes`);
}

/** An object, or undefined where there is none. @throws {KmsRefusal} `ValidationException` */
export function optionalObject(fields: Fields, name: string): Fields | undefined {
  const value = own(fields, name);
  if (value === undefined) return undefined;
  if (isObject(value)) return { ...value };
  throw invalid(`${name} is not an object`);
}

/** The EncryptionContext; empty where there is none. @throws {KmsRefusal} `ValidationException` */
export function encryptionContext(fields: Fields): EncryptionContext {
  const pairs = Object.entries(optionalObject(fields, "EncryptionContext") ?? {});
  if (pairs.length > MAX_CONTEXT_PAIRS) throw invalid(`EncryptionContext has ${pairs.length} pairs`);
  let length = 0;
  const read = pairs.map(([key, value]) => {
    if (typeof value !== "string") throw invalid("A value of EncryptionContext is not a text");
    if (!key.isWellFormed() || !value.isWellFormed()) {
      throw invalid("A text of EncryptionContext has a lone surrogate, which UTF-8 cannot encode");
    }
    length += key.length + value.length;
    return [key, value] as const;
  });
  if (length > MAX_CONTEXT_LENGTH) {
    throw invalid(`EncryptionContext has more than ${MAX_CONTEXT_LENGTH} characters`);
  }
  return Object.fromEntries(read);
}
