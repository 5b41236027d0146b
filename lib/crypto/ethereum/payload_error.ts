/**
 * What is wrong with something that was to be signed.
 *
 * @module
 */
import { EnclaveError } from "../../errors.ts";

/** A payload, or a field of it, that cannot be signed. The message names the field; it is meant for the client. */
export class PayloadError extends EnclaveError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: "invalid_payload", cause });
  }
}
