/**
 * Turns a KMS failure into an error reply: a code and a fixed message with KMS's error name, which is not secret.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import { clockSkewOf, describeSkew } from "../../shared/aws/kms_reasons.ts";
import { type EncryptionContext, kmsErrorName } from "../kms/kms.ts";
import { AttestedDenial } from "../kms/observed.ts";
import { type ErrorCode, WireError } from "../../shared/wire/messages.ts";

/** The clock skew that KMS's error reports. */
function skewOf(thrown: EnclaveError): number | undefined {
  const kms: unknown = "kms" in thrown ? thrown.kms : undefined;
  if (typeof kms !== "object" || kms === null || !("name" in kms) || !("message" in kms)) return undefined;
  const { name, message } = kms;
  return typeof name === "string" && typeof message === "string" ? clockSkewOf({ name, message }) : undefined;
}

/**
 * The failure as an error reply.
 *
 * @param failed the code of the request's own failure, such as `kms_decrypt_failed`
 */
export function kmsFailure(thrown: EnclaveError, failed: ErrorCode): WireError {
  if (thrown.code === "key_not_allowed") return new WireError("key_not_allowed", thrown.message);
  const unreached = "connection" in thrown && typeof thrown.connection === "string"
    ? `KMS was not reached: ${thrown.connection}`
    : undefined;
  if (thrown.code === "kms_timeout") {
    return new WireError(
      "timeout",
      unreached ?? "KMS did not answer in time: check the parent's vsock-proxy",
    );
  }
  if (unreached !== undefined) return new WireError(failed, unreached);
  if (thrown.code === "sdk_busy") return new WireError("busy", "Too many KMS calls are waiting");
  const skew = skewOf(thrown);
  if (skew !== undefined) return new WireError("clock_skew", `KMS refused: ${describeSkew(skew)}`);
  const name = kmsErrorName(thrown);
  if (thrown instanceof AttestedDenial) {
    return new WireError(failed, `KMS refused: ${name}: ${thrown.comparison}`);
  }
  if (name !== undefined) return new WireError(failed, `KMS refused: ${name}`);
  return new WireError(
    failed,
    failed === "kms_decrypt_failed"
      ? "KMS did not open the key; denclavectl client logs says why"
      : "KMS gave no data key; denclavectl client logs says why",
  );
}

/**
 * The failure of a `configure`: KMS does not report whether a wrapped key was changed or wrapped under another EncryptionContext, so the reply names
 * the context that was used.
 */
export function tskFailure(thrown: unknown, context: EncryptionContext | undefined): unknown {
  if (!(thrown instanceof EnclaveError) || kmsErrorName(thrown) !== "InvalidCiphertextException") {
    return thrown;
  }
  const used = context === undefined
    ? "no EncryptionContext"
    : `the EncryptionContext ${Object.entries(context).map(([name, value]) => `${name}=${value}`).join(",")}`;
  return new WireError(
    "kms_decrypt_failed",
    `KMS refused: InvalidCiphertextException: the wrapped key was changed, or was not wrapped under ${used} (--tsk-context; none for a key wrapped without one)`,
  );
}
