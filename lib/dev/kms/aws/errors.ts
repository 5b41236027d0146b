/**
 * The errors of KMS over plain HTTPS.
 *
 * @module
 */
import type { KmsReason } from "../../../shared/aws/kms_reasons.ts";
import { EnclaveError } from "../../../shared/errors.ts";

/**
 * Stable codes:
 * - `aws_kms`: KMS refused (`kms` has its error), or the response is invalid (`kms` is undefined)
 * - `kms_timeout`: no answer before the deadline
 * - `kms_unreachable`: no connection
 * - `kms_closed`: the backend was disposed of
 * - `clock_skew`: KMS refused because this machine's clock is off
 */
export type AwsKmsErrorCode = "aws_kms" | "kms_timeout" | "kms_unreachable" | "kms_closed" | "clock_skew";

/** What an {@link AwsKmsError} is made from, beside its message. */
export interface AwsKmsErrorOptions {
  readonly code: AwsKmsErrorCode;
  readonly kms?: KmsReason | undefined;
  readonly hint: string;
  readonly cause?: unknown;
}

/** A call to KMS over plain HTTPS failed. Holds no credentials and no key. */
export class AwsKmsError extends EnclaveError {
  override name = "AwsKmsError";
  /** KMS's refusal, where it answered with one. */
  readonly kms: KmsReason | undefined;

  constructor(message: string, options: AwsKmsErrorOptions) {
    super(message, options);
    this.kms = options.kms;
  }
}
