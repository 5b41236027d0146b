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
} from "../../../../ffi/errors.ts";

export { SdkError, SdkGenericError, SdkInitError, SdkKmsClientError, SdkKmsConfigError, SdkLibraryError };
export type { SdkErrorOptions, SdkReason } from "../../../../ffi/errors.ts";
export type { KmsReason } from "../../../shared/aws/kms_reasons.ts";

/** An argument was refused before any C code saw it. `symbol` names the parameter. */
export class SdkArgumentError extends SdkError {
  /** The class. */
  override name = "SdkArgumentError";
  /** Stable, for programs. */
  override readonly code = "invalid_argument";
}

/** A Decrypt failed. */
export class SdkKmsDecryptError extends SdkError {
  /** The class. */
  override name = "SdkKmsDecryptError";
  /** Stable, for programs. */
  override readonly code = "sdk_kms_decrypt";
}

/** A GenerateDataKey failed. */
export class SdkKmsDataKeyError extends SdkError {
  /** The class. */
  override name = "SdkKmsDataKeyError";
  /** Stable, for programs. */
  override readonly code = "sdk_kms_data_key";
}

/** A GenerateRandom failed. */
export class SdkKmsRandomError extends SdkError {
  /** The class. */
  override name = "SdkKmsRandomError";
  /** Stable, for programs. */
  override readonly code = "sdk_kms_random";
}

/** The SDK did not return before the deadline. */
export class SdkTimeoutError extends SdkError {
  /** The class. */
  override name = "SdkTimeoutError";
  /** Stable, for programs. */
  override readonly code = "kms_timeout";
}

/** An SDK process ended in the middle of a call, or cannot be started. */
export class SdkProcessError extends SdkError {
  /** The class. */
  override name = "SdkProcessError";
  /** Stable, for programs. */
  override readonly code = "sdk_process";
}

/** The queue of calls to the SDK is full. */
export class SdkBusyError extends SdkError {
  /** The class. */
  override name = "SdkBusyError";
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
