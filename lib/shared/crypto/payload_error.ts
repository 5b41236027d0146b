/**
 * The error of a payload that cannot be signed.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** A payload, or a field of it, cannot be signed. The message names the field and is sent to the client. */
export class PayloadError extends EnclaveError {
  override name = "PayloadError";
  constructor(message: string, cause?: unknown) {
    super(message, { code: "invalid_payload", cause });
  }
}

/** Refuses a field of a payload. @throws {PayloadError} that names it */
export function refuse(name: string, what: string): never {
  throw new PayloadError(`Field ${name.slice(0, 200)} ${what}`);
}
