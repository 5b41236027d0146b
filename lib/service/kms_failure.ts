/**
 * What a KMS failure becomes on the wire: a code and fixed words, with KMS's error name, which tells no secret.
 *
 * @module
 */
import type { EnclaveError } from "../errors.ts";
import { kmsErrorName } from "../kms/kms.ts";
import { type ErrorCode, WireError } from "../wire/messages.ts";

/**
 * The failure as an error reply.
 *
 * @param failed the code of the request's own failure, such as `kms_decrypt_failed`
 */
export function kmsFailure(thrown: EnclaveError, failed: ErrorCode): WireError {
  if (thrown.code === "key_not_allowed") return new WireError("key_not_allowed", thrown.message);
  if (thrown.code === "kms_timeout") {
    return new WireError("timeout", "KMS did not answer in time: check the parent's vsock-proxy");
  }
  if (thrown.code === "sdk_busy") return new WireError("busy", "Too many KMS calls are waiting");
  const name = kmsErrorName(thrown);
  if (name !== undefined) return new WireError(failed, `KMS refused: ${name}`);
  return new WireError(
    failed,
    failed === "kms_decrypt_failed" ? "KMS did not open the key: see logs" : "KMS gave no data key: see logs",
  );
}
