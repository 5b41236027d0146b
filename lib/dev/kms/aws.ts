/**
 * The Kms port over KMS's JSON API, for development: AWS's own KMS or a compatible one (LocalStack, moto), without attestation. It is not in the
 * graph of the production entry, and refuses to start where there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * A plaintext key arrives in JSON as a string, which cannot be wiped: it is released at once, and the bytes of the response are wiped.
 *
 * @module
 */
import { takeSecret } from "./aws/answer.ts";
import type { KmsApiOptions } from "./aws/api.ts";
import { type AnswerReader, HttpsKms } from "./aws/https_kms.ts";
import { refuseInEnclave } from "./outside_enclave.ts";

export { AwsKmsError, type AwsKmsErrorCode } from "./aws/errors.ts";

/** Options of {@link AwsKms.open}. */
export interface AwsKmsOptions extends KmsApiOptions {
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

const PLAIN: AnswerReader = {
  backend: "aws",
  attested: false,
  fields: () => Promise.resolve({}),
  take: (operation, answer, lengths) => Promise.resolve(takeSecret(operation, answer, lengths)),
};

/** KMS over plain HTTPS. A key may be named by ARN, id or alias. */
export type AwsKms = HttpsKms;

/** Opens {@link AwsKms}. */
export const AwsKms = {
  /**
   * Opens it. Nothing is sent: the credentials come with each call.
   *
   * @throws {EnclaveError} `aws_kms_refused` in an enclave, `invalid_endpoint`.
   */
  open({ nsmDevice, ...options }: AwsKmsOptions = {}): AwsKms {
    refuseInEnclave({
      name: "plain KMS backend",
      code: "aws_kms_refused",
      why: "KMS would release keys to whoever holds the parent's credentials.",
      nsmDevice,
    });
    return new HttpsKms(options, PLAIN);
  },
} as const;
