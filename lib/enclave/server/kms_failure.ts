/**
 * Turns a KMS failure into an error reply: a code and a fixed message with KMS's error name, which is not secret.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import { clockSkewOf, describeSkew } from "../../shared/aws/kms_reasons.ts";
import { type EncryptionContext, kmsErrorName } from "../kms/kms.ts";
import { type ErrorCode, WireError } from "../../shared/wire/messages.ts";

/**
 * The failure as an error reply.
 *
 * @param failed the code of the request's own failure, such as `kms_decrypt_failed`
 */
export function kmsFailure(thrown: EnclaveError, failed: ErrorCode): WireError {
  if (thrown.code === "key_not_allowed") return new WireError("key_not_allowed", thrown.message);
  const isLate = thrown.code === "kms_timeout";
  const connection = field(thrown, "connection");
  if (typeof connection === "string") {
    return new WireError(isLate ? "timeout" : failed, `KMS was not reached: ${connection}`);
  }
  if (isLate) return new WireError("timeout", "KMS did not answer in time: check the parent's vsock-proxy");
  if (thrown.code === "sdk_busy") return new WireError("busy", "Too many KMS calls are waiting");
  const message = field(field(thrown, "kms"), "message");
  const skew = typeof message === "string" ? clockSkewOf({ message }) : undefined;
  if (skew !== undefined) return new WireError("clock_skew", `KMS refused: ${describeSkew(skew)}`);
  const name = kmsErrorName(thrown);
  const comparison = field(thrown, "comparison");
  const denial = typeof comparison === "string" ? `: ${comparison}` : "";
  if (name !== undefined) return new WireError(failed, `KMS refused: ${name}${denial}`);
  const what = failed === "kms_decrypt_failed" ? "KMS did not open the key" : "KMS gave no data key";
  return new WireError(failed, `${what}; denclavectl client logs says why`);
}

/**
 * Throws the failure of a `configure`: KMS does not report whether a wrapped key was changed or wrapped under
 * another EncryptionContext, so the reply names the context that was used.
 *
 * @throws {WireError} `kms_decrypt_failed`, or what was thrown
 */
export function refuseTsk(thrown: unknown, context: EncryptionContext | undefined): never {
  if (kmsErrorName(thrown) !== "InvalidCiphertextException") throw thrown;
  const used = context === undefined
    ? "no EncryptionContext"
    : `the EncryptionContext ${Object.entries(context).map(([name, value]) => `${name}=${value}`).join(",")}`;
  throw new WireError(
    "kms_decrypt_failed",
    `KMS refused: InvalidCiphertextException: the wrapped key was changed, or was not wrapped under ${used} (--tsk-context; none for a key wrapped without one)`,
  );
}
