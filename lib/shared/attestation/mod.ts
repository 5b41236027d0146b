/**
 * Attestation for clients: verify that the peer is the expected enclave. Runs in browsers.
 *
 * @module
 */
export { type EnclaveError, type EnclaveErrorOptions } from "../errors.ts";
export {
  type AttestationDocument,
  type ExpectedAttestation,
  type ExpectedPcrs,
  type TrustedAttestation,
  verifyDocument,
} from "./document.ts";
export { type AttestationCode, AttestationError } from "./errors.ts";
export { AWS_NITRO_ROOT, AWS_NITRO_ROOT_SHA256 } from "./root.ts";
export {
  attestUserData,
  hashConfiguration,
  type KeyOrigin,
  type KeyStatement,
  keyUserData,
  type StatementPurpose,
} from "./statement.ts";
