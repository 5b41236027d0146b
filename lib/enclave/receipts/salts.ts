/**
 * What the salts of receipts are derived from. The session key's is derived before the key itself is handed over.
 *
 * @module
 */
import { hkdfSync } from "node:crypto";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { SALT_LENGTH, SECRET_INFO } from "../../shared/receipts/claims.ts";

const NONE = new Uint8Array(0);

/** HKDF-SHA-384. @param secret borrowed */
export function derive(secret: SecretBytes, info: Uint8Array<ArrayBuffer>, length: number): SecretBytes {
  return new SecretBytes(new Uint8Array(hkdfSync("sha384", secret.expose(), NONE, info, length)));
}

/** The secret that the salts of a session key's receipts are derived from. @param key borrowed */
export function receiptSecretOf(key: SecretBytes): SecretBytes {
  return derive(key, new TextEncoder().encode(SECRET_INFO), SALT_LENGTH);
}
