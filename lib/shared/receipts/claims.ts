/**
 * What the two sides of a receipt share. A receipt is a COSE_Sign1 over CWT claims, which the enclave signs with an attested key; docs/protocol.md has its
 * bytes.
 *
 * Runs in browsers.
 *
 * @module
 */
import { concat } from "../bytes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Labels of the claims: RFC 8392 and, of the nonce, RFC 9711. The negative ones are private. */
export const CLAIM = {
  issuedAt: 6,
  id: 7,
  nonce: 10,
  type: -65537,
  request: -65538,
  result: -65539,
  input: -65540,
  outcome: -65541,
  configuration: -65542,
} as const;

/** Bytes of a salt, and of the secret of a session key. */
export const SALT_LENGTH = 48;
/** HKDF's `info` of the secret that a session key's salts are derived from. */
export const SECRET_INFO: Bytes = new TextEncoder().encode("denclave/receipt/1");
/** Life of a receipt key. Its document is given for as long again. Milliseconds. */
export const RECEIPT_KEY_LIFE_MS = 86_400_000;

const LABEL = new TextEncoder().encode("receipt");

/** HKDF's `info` of the two salts: the result's, then the input's. */
export function saltInfo(nonce: Uint8Array, id: Uint8Array): Bytes {
  return concat([LABEL, nonce, id]);
}
