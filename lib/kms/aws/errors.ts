/**
 * What can go wrong with KMS over plain HTTPS.
 *
 * @module
 */
import type { KmsReason } from "../../aws/kms_reasons.ts";
import { EnclaveError } from "../../errors.ts";

/**
 * What a program may compare against:
 * - `aws_kms`: KMS refused (`kms` says how), or what answered is not to be believed (`kms` is undefined)
 * - `kms_timeout`: no answer before the deadline
 * - `kms_unreachable`: no connection
 * - `kms_closed`: the backend was disposed of
 * - `clock_skew`: KMS refused since this machine's clock is off
 */
export type AwsKmsErrorCode = "aws_kms" | "kms_timeout" | "kms_unreachable" | "kms_closed" | "clock_skew";

/** What an {@link AwsKmsError} is made from, beside its message. */
export interface AwsKmsErrorOptions {
  readonly code: AwsKmsErrorCode;
  readonly kms?: KmsReason | undefined;
  readonly hint: string;
  readonly cause?: unknown;
}

/** A call to KMS over plain HTTPS did not work. Holds no credentials and no key. */
export class AwsKmsError extends EnclaveError {
  /** KMS's refusal, where it answered with one. */
  readonly kms: KmsReason | undefined;

  constructor(message: string, options: AwsKmsErrorOptions) {
    super(message, options);
    this.kms = options.kms;
  }
}
