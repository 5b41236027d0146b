/**
 * Errors about key policies other than their syntax (`KeyPolicyError`).
 *
 * @module
 */
import { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";

/** Codes of {@link PolicyError}. */
export type PolicyErrorCode =
  | "policy_refused"
  | "policy_changed"
  | "measurements_invalid"
  | "build_unknown"
  | "locks_out";

/** A policy or a measurement is invalid, or the requested change would be unsafe. */
export class PolicyError extends EnclaveError {
  override name = "PolicyError";
  /** One of {@link PolicyErrorCode}. */
  declare readonly code: PolicyErrorCode;

  constructor(message: string, options: EnclaveErrorOptions<PolicyErrorCode>) {
    super(message, options);
  }
}
