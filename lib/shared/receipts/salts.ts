/**
 * The client's side of a receipt's salts: it derives them, and can disclose each by itself.
 *
 * Runs in browsers.
 *
 * @module
 */
import { SALT_LENGTH, saltInfo, SECRET_INFO } from "./claims.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What opens the commitments of one receipt. 48 bytes each. */
export interface ReceiptSalts {
  /** Opens the commitment to the result. */
  readonly result: Uint8Array<ArrayBuffer>;
  /** Opens the commitment to the input. */
  readonly input: Uint8Array<ArrayBuffer>;
}

async function hkdf(secret: Uint8Array, info: Bytes, length: number): Promise<Bytes> {
  const key = await crypto.subtle.importKey("raw", new Uint8Array(secret), "HKDF", false, ["deriveBits"]);
  const how = { name: "HKDF", hash: "SHA-384", salt: new Uint8Array(0), info };
  return new Uint8Array(await crypto.subtle.deriveBits(how, key, 8 * length));
}

/** The secret of a session key, for the receipts of plain `process` requests. The caller wipes it. @param key 32 bytes */
export function receiptSecretOf(key: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return hkdf(key, SECRET_INFO, SALT_LENGTH);
}

/**
 * The salts of a receipt.
 *
 * @param secret of the session key ({@link receiptSecretOf}), then what HPKE exports for a sealed request
 * @param receipt its nonce and its id (`cti`)
 */
export async function receiptSalts(
  secret: Uint8Array,
  { nonce, id }: { readonly nonce: Uint8Array; readonly id: Uint8Array },
): Promise<ReceiptSalts> {
  const both = await hkdf(secret, saltInfo(nonce, id), 2 * SALT_LENGTH);
  return { result: both.slice(0, SALT_LENGTH), input: both.slice(SALT_LENGTH) };
}
