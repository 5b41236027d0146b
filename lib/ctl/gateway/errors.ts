/**
 * What the gateway refuses.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";

/** Codes of {@link GatewayError}. */
type GatewayErrorCode =
  | "not_attested"
  | "master_key_changed"
  | "master_key_missing"
  | "origin_unproven"
  | "signature_wrong"
  | "unexpected_reply"
  | "restore_failed";

/** The gateway refused; nothing was changed. */
export class GatewayError extends EnclaveError {
  override name = "GatewayError";
  declare readonly code: GatewayErrorCode;
  constructor(message: string, options: { readonly code: GatewayErrorCode; readonly hint: string }) {
    super(message, options);
  }
}
