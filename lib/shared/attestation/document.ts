/**
 * Verifies an attestation document under AWS's Nitro root: a client does this before it trusts an enclave.
 *
 * Runs in browsers. Never part of the enclave's binary, which verifies no documents.
 *
 * @module
 */
import { AttestationError } from "./errors.ts";
import { expectationProblem } from "./expectation.ts";
import type { AttestationDocument } from "./payload.ts";
import { AWS_NITRO_ROOT } from "./root.ts";
import { type ExpectedAttestation, verifyDocumentUnder } from "./verify.ts";

export type { AttestationDocument } from "./payload.ts";
export type { ExpectedAttestation } from "./verify.ts";
export type { ExpectedPcrs } from "./expectation.ts";

/** What a client expects of a document, and the checks that it explicitly skips. */
export interface TrustedAttestation extends ExpectedAttestation {
  /** Accepts a document that may answer another client's request, or be a replay: for development. */
  readonly insecureSkipNonce?: boolean;
  /** Accepts the document of any enclave, also an attacker's: for development. */
  readonly insecureSkipPcrs?: boolean;
}

/**
 * Verifies a document: its form, its certificates up to AWS's Nitro root G1, its signature, and the expected values.
 *
 * Needs PCR0, or PCR8, and the nonce of the request: without PCRs the document may be of any enclave, without a nonce a replay. A stored document is
 * verified with its nonce and `at`; that proves its origin, but not that the enclave still runs.
 *
 * @param document the COSE_Sign1 that the Nitro Security Module gave, at most 16 KiB
 * @throws {AttestationError} whose code says which check failed.
 * `attestation_nonce` too when no nonce is expected.
 * @throws {RangeError | TypeError} when what is expected makes no sense, or identifies no enclave.
 */
export async function verifyDocument(
  document: Uint8Array,
  expected: TrustedAttestation,
): Promise<AttestationDocument> {
  return await verifyDocumentOf(AWS_NITRO_ROOT, document, expected);
}

/**
 * As {@link verifyDocument}, under a root given by the caller: that of a simulated NSM. Not exported from the package.
 *
 * @param root DER of the root certificate
 * @throws {AttestationError | RangeError | TypeError}
 */
export async function verifyDocumentOf(
  root: Uint8Array,
  document: Uint8Array,
  expected: TrustedAttestation,
): Promise<AttestationDocument> {
  const problem = expectationProblem(expected.pcrs ?? {});
  if (problem !== undefined && expected.insecureSkipPcrs !== true) {
    throw new TypeError(`Cannot verify an attestation document: ${problem}`);
  }
  if (expected.nonce === undefined && expected.insecureSkipNonce !== true) {
    throw new AttestationError("attestation_nonce", "no nonce is expected, so that it may be a replay");
  }
  return await verifyDocumentUnder(root, document, expected);
}
