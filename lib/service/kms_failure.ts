/**
 * What a KMS failure becomes on the wire: a code and fixed words, with KMS's error name, which tells no secret.
 *
 * @module
 */
import type { EnclaveError } from "../errors.ts";
import { clockSkewOf, describeSkew } from "../aws/kms_reasons.ts";
import { kmsErrorName } from "../kms/kms.ts";
import { AttestedDenial } from "../kms/observed.ts";
import { type ErrorCode, WireError } from "../wire/messages.ts";

/** How far KMS says that this clock is off. */
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
    failed === "kms_decrypt_failed" ? "KMS did not open the key: see logs" : "KMS gave no data key: see logs",
  );
}

/** What KMS's refusal to open a row's data key says of the row. */
export interface RowSuspects {
  /** What the data key is, and what it is bound to. */
  readonly InvalidCiphertextException: string;
  /** Where the KMS key is named. */
  readonly IncorrectKeyException: string;
}

/** A row cannot be trusted. */
export function rowRejected(fields: string): WireError {
  return new WireError("row_rejected", `Cannot trust ${fields}`);
}

/**
 * The failure of a call about a row, as an error reply: expired credentials, a row that cannot be trusted, or KMS's own.
 *
 * @param failed the code of the request's own failure
 * @param suspects which fields to name; undefined where there is no row yet
 */
export function rowKmsFailure(thrown: EnclaveError, failed: ErrorCode, suspects?: RowSuspects): WireError {
  const name = kmsErrorName(thrown) ?? "";
  if (name.startsWith("ExpiredToken")) {
    return new WireError("credentials_expired", `KMS refused: ${name}: send fresh credentials`);
  }
  if (suspects !== undefined && (name === "InvalidCiphertextException" || name === "IncorrectKeyException")) {
    return rowRejected(`${suspects[name]} (KMS: ${name})`);
  }
  return kmsFailure(thrown, failed);
}
