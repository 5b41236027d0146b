/**
 * The errors of verifying an attestation document.
 *
 * Runs in browsers.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** The check that failed, listed in the order of the checks. */
export type AttestationCode =
  | "attestation_malformed" // too large, not the required CBOR, or with a field missing or of another type
  | "attestation_algorithm" // not signed by ES384
  | "attestation_nitrotpm" // of an EC2 instance's NitroTPM, not of an enclave
  | "attestation_root" // does not begin at the pinned root
  | "attestation_chain" // a certificate is not signed by the one before, or is not allowed at its place
  | "attestation_expired" // a certificate is not valid at the document's time, or at the time of verification
  | "attestation_signature" // the document is not signed by its certificate
  | "attestation_stale" // older than allowed, or of the future
  | "attestation_debug" // of an enclave in debug mode: its PCRs say nothing
  | "attestation_nonce" // not an answer to this request
  | "attestation_user_data" // other user data than expected
  | "attestation_public_key" // another public key than expected
  | "attestation_pcr"; // another image, role, instance or signer than expected

const HINTS: Readonly<Record<AttestationCode, string>> = {
  attestation_malformed: "Check that the bytes are an attestation document, whole, decoded from base64 once.",
  attestation_algorithm: "Documents of the Nitro hypervisor are signed with ES384, and this one is not.",
  attestation_nitrotpm:
    "Ask the enclave for its own document: a NitroTPM attests to what an EC2 instance booted, not to an enclave in it.",
  attestation_root:
    "Documents of AWS's commercial partitions begin at its Nitro root G1: this one is simulated, or of another partition.",
  attestation_chain: "Do not trust this document: its certificates do not lead to the root.",
  attestation_expired:
    "A document is verified within hours of its making: ask for a new one, check this clock, or give the time to verify at.",
  attestation_signature: "Do not trust this document: it was changed, or made by somebody else.",
  attestation_stale: "Ask for a new document, and check this clock.",
  attestation_debug:
    "Run the enclave without --debug-mode: in debug mode its memory can be read, and PCRs 0 to 2 are zero.",
  attestation_nonce: "Send a fresh nonce with each request, and compare with that one: this may be a replay.",
  attestation_user_data: "The document has other user data than expected: compare what was hashed.",
  attestation_public_key: "The enclave holds another key: do not encrypt to the one expected.",
  attestation_pcr:
    "Compare with the measurements of the build (denclavectl eif describe): another image runs.",
};

/** An attestation document was refused; `code` says by which check. */
export class AttestationError extends EnclaveError {
  /** The class. */
  override name = "AttestationError";
  /** The check that failed. */
  declare readonly code: AttestationCode;

  /**
   * Made for one check.
   *
   * @param message says what was found
   */
  constructor(code: AttestationCode, message: string, cause?: unknown) {
    super(`Attestation document refused: ${message}`, { code, hint: HINTS[code], cause });
  }
}
