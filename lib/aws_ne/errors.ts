/**
 * What can go wrong between here and KMS through the SDK, one class a step. Each carries the failed symbol, the
 * SDK's own error where it has one (often it has none: `aws_last_error()` stays 0) and KMS's own words where they
 * could be had.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** `aws_last_error()` with its name and text, as the SDK gives them. */
export interface SdkReason {
  /** `aws_last_error()`, not 0. */
  readonly code: number;
  /** `aws_error_name()`, such as `AWS_ERROR_INVALID_ARGUMENT`. */
  readonly name: string;
  /** `aws_error_str()`. */
  readonly text: string;
}

/** KMS's own refusal: `__type` and `message` of its answer. */
export interface KmsReason {
  /** Such as `AccessDeniedException`. */
  readonly name: string;
  /** For people; may be empty. */
  readonly message: string;
}

/** What an {@link SdkError} is made from, beside its message. */
export interface SdkErrorOptions {
  /** The C function that failed, or the parameter that was refused. */
  readonly symbol: string;
  /** The SDK's own error, where it set one. */
  readonly sdk?: SdkReason | undefined;
  /** KMS's refusal, where its words could be had. */
  readonly kms?: KmsReason | undefined;
  /** What a person can do about it. */
  readonly hint?: string | undefined;
  /** What it was made of. */
  readonly cause?: unknown;
}

/** The layer's own class: everything that the binding throws on purpose. */
export class SdkError extends EnclaveError {
  /** The C function that failed, or the parameter that was refused. */
  readonly symbol: string;
  /** The SDK's own error, where it set one. */
  readonly sdk: SdkReason | undefined;
  /** KMS's refusal, where its words could be had. */
  readonly kms: KmsReason | undefined;

  /**
   * Of a class below this one.
   *
   * @param message says what failed, on which input
   */
  constructor(message: string, options: SdkErrorOptions) {
    super(message, { ...options, code: "sdk" });
    this.symbol = options.symbol;
    this.sdk = options.sdk;
    this.kms = options.kms;
  }
}

/** The shared libraries could not be found, opened, or lack a symbol. */
export class SdkLibraryError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_library";
}

/** An argument was refused before any C code saw it. `symbol` names the parameter. */
export class SdkArgumentError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "invalid_argument";
}

/** `aws_nitro_enclaves_library_init` or `_get_allocator` gave nothing. */
export class SdkInitError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_init";
}

/** An allocation or another small step failed. */
export class SdkGenericError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_generic";
}

/** `aws_nitro_enclaves_kms_client_config_default` gave NULL. */
export class SdkKmsConfigError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_config";
}

/** `aws_nitro_enclaves_kms_client_new` gave NULL: no connection or no TLS to KMS. */
export class SdkKmsClientError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_kms_client";
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

/** The SDK did not come back before the deadline; its host was given up. */
export class SdkTimeoutError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "kms_timeout";
}

/** The host of the SDK ended in the middle of a call, or no further one may be started. */
export class SdkHostError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_host";
}

/** As many calls wait for the SDK as may wait. */
export class SdkBusyError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_busy";
}

/** More sets of credentials were used than clients may be kept for. */
export class SdkClientLimitError extends SdkError {
  /** Stable, for programs. */
  override readonly code = "sdk_client_limit";
}

/** The classes by name, for carrying an error from the SDK host to its caller. */
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
  SdkHostError,
  SdkBusyError,
  SdkClientLimitError,
} as const;
