/**
 * A local KMS emulator with attested calls, and the enclave's side of such calls. Only for scripts and tests.
 *
 * @module
 */
export { SimulatedAttestedKms, type SimulatedAttestedKmsOptions } from "../kms/attested_kms.ts";
export { type AuditEvent } from "./audit.ts";
export { parseCertificate } from "../../shared/attestation/pem.ts";
export { CmsError, type CmsErrorCode, envelopData, openEnvelopedData } from "./enveloped_data.ts";
export { KmsRefusal } from "./errors.ts";
export { HTTP_LIMITS, type HttpLimits } from "./http.ts";
export { type Decision, evaluatePolicy, type KeyPolicy, parseKeyPolicy } from "./policy.ts";
export { KmsEmulator, type KmsEmulatorOptions, type PolicyFor } from "./server.ts";
export { type AccessKey, parseAccessKeys } from "./signature.ts";
