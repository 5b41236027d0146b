/**
 * The verification of an attestation document under AWS's Nitro root: what a client does before it trusts the enclave that it talks to.
 *
 * Runs in browsers. Never part of the enclave's binary, which verifies nobody's documents.
 *
 * @module
 */
import type { AttestationDocument } from "./payload.ts";
import { AWS_NITRO_ROOT } from "./root.ts";
import { type ExpectedAttestation, verifyDocumentUnder } from "./verify.ts";

export type { AttestationDocument } from "./payload.ts";
export type { ExpectedAttestation } from "./verify.ts";

/**
 * Verifies a document: its form, its certificates up to AWS's Nitro root G1, its signature, and what is expected of it.
 *
 * A nonce of one's own and PCRs are what make it mean something: without a nonce it may be a replay, without PCRs it may be of any enclave.
 *
 * @param document the COSE_Sign1 that the Nitro Security Module gave, at most 16 KiB
 * @throws {AttestationError} whose code says which check failed.
 * @throws {RangeError | TypeError} when what is expected makes no sense.
 */
export function verifyDocument(
  document: Uint8Array,
  expected: ExpectedAttestation,
): Promise<AttestationDocument> {
  return verifyDocumentUnder(AWS_NITRO_ROOT, document, expected);
}
