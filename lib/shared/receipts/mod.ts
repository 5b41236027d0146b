/**
 * Receipts for clients and third parties: prove what an enclave answered. Runs in browsers.
 *
 * @module
 */
export { type EnclaveError, type EnclaveErrorOptions } from "../errors.ts";
export type {
  AttestationDocument,
  ExpectedAttestation,
  ExpectedPcrs,
  TrustedAttestation,
} from "../attestation/document.ts";
export { type AttestationCode, AttestationError } from "../attestation/errors.ts";
export { type ReceiptCode, ReceiptError } from "./errors.ts";
export { type ReceiptSalts, receiptSalts, receiptSecretOf } from "./salts.ts";
export {
  type Disclosed,
  type ExpectedDocument,
  type ExpectedReceipt,
  parseReceipt,
  type Receipt,
  type ReceiptKey,
  verifyReceipt,
  verifyReceiptDocument,
} from "./verify.ts";
