/**
 * COSE_Sign1 with ES384, as the Nitro hypervisor makes it: an untagged (or tagged, 18) array of protected header, unprotected header, payload
 * and signature. RFC 9052, section 4.2; RFC 9053, section 2.1.
 *
 * Runs in browsers.
 *
 * @module
 */
import { encode } from "cborg";
import { asBytes, decodeStrict } from "./cbor.ts";
import { AttestationError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the largest document that is looked at. */
export const MAX_DOCUMENT_LENGTH = 16 * 1024;
/** Bytes of an ES384 signature, r ‖ s. */
export const SIGNATURE_LENGTH = 96;
/** The protected header {1: -35}: algorithm, ES384. */
export const ES384_HEADER: Bytes = new Uint8Array([0xa1, 0x01, 0x38, 0x22]);

const TAG_18 = 0xd2;
const PARTS = 4;
const MAX_DEPTH = 2;
const ES384 = { name: "ECDSA", hash: "SHA-384" } as const;

/** A signed message, of which the signature is not verified yet. */
export interface Sign1 {
  /** What is signed. */
  readonly payload: Bytes;
  /** r ‖ s. */
  readonly signature: Bytes;
}

/**
 * Takes a message apart.
 *
 * @throws {AttestationError} `attestation_malformed`; `attestation_algorithm` when its header is not {@link ES384_HEADER}.
 */
export function parseSign1(bytes: Uint8Array): Sign1 {
  const untagged = bytes[0] === TAG_18 ? bytes.subarray(1) : bytes;
  let parts: unknown;
  try {
    parts = decodeStrict(untagged, { maxBytes: MAX_DOCUMENT_LENGTH, maxDepth: MAX_DEPTH });
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : "";
    throw new AttestationError(
      "attestation_malformed",
      `it is not the CBOR of a COSE_Sign1: ${reason}`,
      thrown,
    );
  }
  if (!Array.isArray(parts) || parts.length !== PARTS) {
    throw new AttestationError("attestation_malformed", `it is not a COSE_Sign1, an array of ${PARTS}`);
  }
  const [header, unprotected, body, signed] = parts as readonly unknown[];
  const protectedHeader = asBytes(header, 0, MAX_DOCUMENT_LENGTH);
  if (protectedHeader === undefined || !equalBytes(protectedHeader, ES384_HEADER)) {
    throw new AttestationError("attestation_algorithm", "its protected header is not {1: -35}, ES384");
  }
  if (!(unprotected instanceof Map) || unprotected.size !== 0) {
    throw new AttestationError("attestation_malformed", "its unprotected header is not an empty map");
  }
  const payload = asBytes(body, 1, MAX_DOCUMENT_LENGTH);
  const signature = asBytes(signed, SIGNATURE_LENGTH, SIGNATURE_LENGTH);
  if (payload === undefined) throw new AttestationError("attestation_malformed", "it has no payload");
  if (signature === undefined) {
    throw new AttestationError("attestation_malformed", `its signature has not ${SIGNATURE_LENGTH} bytes`);
  }
  return { payload, signature };
}

/** What is signed in place of the payload: RFC 9052, section 4.4. */
function sigStructure(payload: Bytes): Bytes {
  return new Uint8Array(encode(["Signature1", ES384_HEADER, new Uint8Array(0), payload]));
}

/**
 * Whether the message is signed by the key. Either s of an ECDSA signature will do: RFC 9053 and X.509 have no low-s rule, as wallets have. So a message has
 * two valid signatures, and its bytes identify nothing.
 */
export function verifySign1({ payload, signature }: Sign1, key: CryptoKey): Promise<boolean> {
  return crypto.subtle.verify(ES384, key, signature, sigStructure(payload));
}

/** Signs a payload, untagged. */
export async function signSign1(payload: Bytes, key: CryptoKey): Promise<Bytes> {
  const signature = new Uint8Array(await crypto.subtle.sign(ES384, key, sigStructure(payload)));
  return new Uint8Array(encode([ES384_HEADER, new Map(), payload, signature]));
}

/** Whether two byte strings are equal; for what is no secret. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
