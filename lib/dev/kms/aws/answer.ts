/**
 * Reads and checks the fields of KMS's responses.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { type KmsAnswer, unbelievable } from "./api.ts";
import type { KmsOperation } from "./sign.ts";

/** The bytes of `Plaintext`, which is removed from the response. @throws {AwsKmsError} */
export function takeSecret(
  operation: KmsOperation,
  answer: KmsAnswer,
  lengths: { readonly min: number; readonly max: number },
): SecretBytes {
  return new SecretBytes(takeBytes(operation, answer, { ...lengths, field: "Plaintext" }));
}

/** The bytes of a field, which is removed from the response. Errors do not quote them. @throws {AwsKmsError} */
export function takeBytes(
  operation: KmsOperation,
  answer: KmsAnswer,
  { field, min, max }: { readonly field: string; readonly min: number; readonly max: number },
): Uint8Array<ArrayBuffer> {
  const text = answer[field];
  delete answer[field];
  const bytes = typeof text === "string" ? decode(text) : undefined;
  if (bytes === undefined) throw unbelievable(operation, `${field} is missing or not base64`);
  if (bytes.length >= min && bytes.length <= max) return bytes;
  bytes.fill(0);
  throw unbelievable(operation, `${field} has ${bytes.length} bytes`);
}

function decode(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return decodeBase64(text);
  } catch {
    return undefined;
  }
}

/**
 * Compares the key that KMS used with the requested one. A request by alias cannot be compared.
 *
 * @throws {AwsKmsError}
 */
export function checkKey(operation: KmsOperation, answer: KmsAnswer, asked: string | undefined): void {
  if (asked === undefined || /(^|:)alias\//.test(asked)) return;
  const used = answer["KeyId"];
  const isAsked = typeof used === "string" &&
    (asked.startsWith("arn:") ? used === asked : used === asked || used.endsWith(`:key/${asked}`));
  if (isAsked) return;
  const named = typeof used === "string" ? JSON.stringify(used.slice(0, 128)) : "no key";
  throw unbelievable(operation, `it names ${named}, asked for was ${JSON.stringify(asked.slice(0, 128))}`);
}
