/**
 * The errors of KMS calls through the SDK, one class for each step. Each carries the failed symbol, the SDK's own
 * error where it has one (often `aws_last_error()` stays 0), and KMS's error name and message where they are known.
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

/** A Decrypt failed. */
export class SdkKmsDecryptError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_decrypt";
}

/** A GenerateDataKey failed. */
export class SdkKmsDataKeyError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_data_key";
}

/** A GenerateRandom failed. */
export class SdkKmsRandomError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_random";
}

/** The SDK did not return before the deadline. */
export class SdkTimeoutError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "kms_timeout";
}

/** An SDK process ended in the middle of a call, or cannot be started. */
export class SdkProcessError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_process";
}

/** The queue of calls to the SDK is full. */
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

// A minifier also shortens class names, and errors are sent between processes by these names.
for (const [name, errorClass] of Object.entries(SDK_ERROR_CLASSES)) {
  Object.defineProperty(errorClass, "name", { value: name });
}
