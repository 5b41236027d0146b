/**
 * Checks of the SDK's arguments, made before any C code sees them: each error names the parameter and the remedy.
 *
 * @module
 */
import type { Credentials } from "../../../shared/aws/credentials.ts";
import {
  MAX_CIPHERTEXT_LENGTH,
  MAX_CREDENTIAL_LENGTH,
  MAX_KEY_ID_LENGTH,
  MAX_RANDOM_LENGTH,
} from "../../../shared/aws/kms_limits.ts";
import { isRegion } from "../../../shared/aws/region.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { SdkArgumentError } from "./errors.ts";

/** Algorithms that the SDK's Decrypt supports. */
export const ENCRYPTION_ALGORITHMS: readonly string[] = [
  "SYMMETRIC_DEFAULT",
  "RSAES_OAEP_SHA_1",
  "RSAES_OAEP_SHA_256",
];

function refuse(symbol: string, message: string, hint: string): never {
  throw new SdkArgumentError(message, { symbol, hint });
}

/** @throws {SdkArgumentError} unless it has the shape of a region's name. */
export function checkRegion(region: string): void {
  if (isRegion(region)) return;
  refuse(
    "region",
    `Cannot use region ${JSON.stringify(region.slice(0, 64))}`,
    "Give a region's name such as us-west-2.",
  );
}

function checkCredential(name: keyof typeof MAX_CREDENTIAL_LENGTH, value: SecretBytes): void {
  const limit = MAX_CREDENTIAL_LENGTH[name];
  if (value.length > limit) {
    refuse(
      name,
      `Cannot use ${name}: it has ${value.length} bytes, at most ${limit} are possible`,
      "Check that the fields are not swapped.",
    );
  }
  if (value.expose().includes(0)) {
    refuse(name, `Cannot use ${name}: it contains a NUL`, "Pass the string as AWS gave it.");
  }
}

/** @throws {SdkArgumentError} when one is empty (the session token may be), too long, or contains a NUL. */
export function checkCredentials(credentials: Credentials): void {
  for (const name of ["accessKeyId", "secretAccessKey"] as const) {
    if (credentials[name].length === 0) {
      refuse(name, `Cannot use ${name}: it is empty`, "Pass the credentials of the parent's IAM role.");
    }
  }
  checkCredential("accessKeyId", credentials.accessKeyId);
  checkCredential("secretAccessKey", credentials.secretAccessKey);
  checkCredential("sessionToken", credentials.sessionToken);
}

/** @throws {SdkArgumentError} when it is empty or beyond KMS's limit. */
export function checkCiphertext(ciphertext: Uint8Array): void {
  if (ciphertext.length === 0) {
    refuse("ciphertext", "Cannot decrypt: the ciphertext is empty", "Pass KMS's CiphertextBlob.");
  }
  if (ciphertext.length > MAX_CIPHERTEXT_LENGTH) {
    refuse(
      "ciphertext",
      `Cannot decrypt: the ciphertext has ${ciphertext.length} bytes, KMS takes at most ${MAX_CIPHERTEXT_LENGTH}`,
      "KMS opens wrapped keys, not data: decrypt the data with the key that it releases.",
    );
  }
}

/** @throws {SdkArgumentError} when it is empty, too long, or has characters outside printable ASCII. */
export function checkKeyId(keyId: string): void {
  if (keyId.length > 0 && keyId.length <= MAX_KEY_ID_LENGTH && /^[\x21-\x7e]+$/.test(keyId)) return;
  refuse("keyId", `Cannot use key id ${JSON.stringify(keyId.slice(0, 64))}`, "Pass the key's ARN.");
}

/** @throws {SdkArgumentError} when it is not one that the SDK knows. */
export function checkAlgorithm(algorithm: string): void {
  if (ENCRYPTION_ALGORITHMS.includes(algorithm)) return;
  refuse(
    "encryptionAlgorithm",
    `Cannot use encryption algorithm ${JSON.stringify(algorithm.slice(0, 64))}`,
    `Use one of ${ENCRYPTION_ALGORITHMS.join(", ")}.`,
  );
}

/** @throws {SdkArgumentError} unless it is an integer, 1 to 1024. */
export function checkRandomLength(length: number): void {
  if (Number.isInteger(length) && length >= 1 && length <= MAX_RANDOM_LENGTH) return;
  refuse(
    "length",
    `Cannot generate ${length} random bytes`,
    `KMS gives 1 to ${MAX_RANDOM_LENGTH} at a time.`,
  );
}
