/**
 * The errors of receipts.
 *
 * Runs in browsers.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** The check that failed. */
export type ReceiptCode =
  | "receipt_missing" // the reply has no receipt, though the request asked for one
  | "receipt_malformed" // not a COSE_Sign1 of EdDSA with the claims of a receipt
  | "receipt_document" // the attestation document is not about a receipt key
  | "receipt_key" // signed with another key than the document's: another enclave, or another document
  | "receipt_signature" // changed, or not signed with the key that it names
  | "receipt_time" // not made while its key was in use, or the document is not of that time
  | "receipt_configuration" // of another configuration than the document's, or than expected
  | "receipt_nonce" // not for this request: another nonce
  | "receipt_request" // about another request
  | "receipt_outcome" // about another outcome than the reply's
  | "receipt_result" // commits to another result, or to this one with another salt
  | "receipt_input"; // commits to another input, or to this one with another salt

const HINTS: Readonly<Record<ReceiptCode, string>> = {
  receipt_missing:
    "The service is too old for receipts, or the reply was changed on the way: do not rely on it.",
  receipt_malformed: "Check that the bytes are a receipt, whole, decoded from base64 once.",
  receipt_document: 'Fetch the document with attest and the purpose "receipt".',
  receipt_key: "Give the document of the key that signed, from the enclave that signed.",
  receipt_signature: "Do not trust this receipt: it was changed, or made by somebody else.",
  receipt_time: "Give the document of the key that was in use at that time.",
  receipt_configuration: "Do not trust this receipt: an enclave signs its own configuration.",
  receipt_nonce: "Do not rely on this receipt: it answers another request, or is a replay.",
  receipt_request: "Compare the request's bytes: of a sealed request they are its ciphertext.",
  receipt_outcome: "Do not rely on this receipt: the reply was changed on the way.",
  receipt_result: "Compare the result and its salt, which has 48 bytes: the input's salt is another one.",
  receipt_input: "Compare the input and its salt, which has 48 bytes: the result's salt is another one.",
};

/** A receipt was refused; `code` says by which check. */
export class ReceiptError extends EnclaveError {
  /** The class. */
  override name = "ReceiptError";
  /** The check that failed. */
  declare readonly code: ReceiptCode;

  /**
   * The hint is the code's.
   *
   * @param message says what was found
   */
  constructor(code: ReceiptCode, message: string, cause?: unknown) {
    super(`Receipt refused: ${message}`, { code, hint: HINTS[code], cause });
  }
}
