/**
 * COSE_Sign1 as the Nitro hypervisor makes it: ES384, and an empty unprotected header.
 *
 * Runs in browsers.
 *
 * @module
 */
import { CoseError, parseSign1 as parse, type Sign1, signSign1 as sign } from "./sign1.ts";
import { AttestationError } from "./errors.ts";

export { verifySign1 } from "./sign1.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the largest document that is read. */
export const MAX_DOCUMENT_LENGTH = 16 * 1024;

/**
 * Parses a message.
 *
 * @throws {AttestationError} `attestation_malformed`; `attestation_algorithm` when its protected header is not {1: -35}, ES384.
 */
export function parseSign1(bytes: Uint8Array): Sign1 {
  try {
    const { unprotected, ...message } = parse(bytes, { algorithm: "ES384", maxBytes: MAX_DOCUMENT_LENGTH });
    if (unprotected.size === 0) return message;
  } catch (thrown) {
    if (!(thrown instanceof CoseError)) throw thrown;
    const code = thrown.code === "cose_algorithm" ? "attestation_algorithm" : "attestation_malformed";
    throw new AttestationError(code, thrown.message, thrown);
  }
  throw new AttestationError("attestation_malformed", "its unprotected header is not an empty map");
}

/** Signs a payload, untagged. */
export function signSign1(payload: Bytes, key: CryptoKey): Promise<Bytes> {
  return sign(payload, { algorithm: "ES384", key });
}
