/**
 * What can go wrong between here and KMS through the SDK, one class a step. Each carries the failed symbol, the
 * SDK's own error where it has one (often it has none: `aws_last_error()` stays 0) and KMS's own words where they
 * could be had.
 *
 * @module
 */
import {
  SdkError,
  SdkGenericError,
  SdkInitError,
  SdkKmsClientError,
  SdkKmsConfigError,
  SdkLibraryError,
} from "../../ffi/errors.ts";

export { SdkError, SdkGenericError, SdkInitError, SdkKmsClientError, SdkKmsConfigError, SdkLibraryError };
export type { SdkErrorOptions, SdkReason } from "../../ffi/errors.ts";
export type { KmsReason } from "../aws/kms_reasons.ts";

/** An argument was refused before any C code saw it. `symbol` names the parameter. */
export class SdkArgumentError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "invalid_argument";
}

/** A Decrypt did not work. */
export class SdkKmsDecryptError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_decrypt";
}

/** A GenerateDataKey did not work. */
export class SdkKmsDataKeyError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_data_key";
}

/** A GenerateRandom did not work. */
export class SdkKmsRandomError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_random";
}

/** The SDK did not come back before the deadline. */
export class SdkTimeoutError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "kms_timeout";
}

/** An SDK process ended in the middle of a call, or cannot be started. */
export class SdkProcessError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_process";
}

/** As many calls wait for the SDK as may wait. */
export class SdkBusyError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_busy";
}

/** The classes by name, for carrying an error from an SDK process to the service. */
export const SDK_ERROR_CLASSES = {
  SdkLibraryError,
  SdkArgumentError,
  SdkInitError,
  SdkGenericError,
  SdkKmsConfigError,
  SdkKmsClientError,
  SdkKmsDecryptError,
  SdkKmsDataKeyError,
  SdkKmsRandomError,
  SdkTimeoutError,
  SdkProcessError,
  SdkBusyError,
} as const;

// A bundler that makes names short makes those of classes short as well: errors cross processes by these.
for (const [name, errorClass] of Object.entries(SDK_ERROR_CLASSES)) {
  Object.defineProperty(errorClass, "name", { value: name });
}
