/**
 * What the binding throws: one class for each step that can fail. Each carries the failed symbol and the SDK's own error where it has one
 * (often `aws_last_error()` stays 0).
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";

/** `aws_last_error()` with its name and text from the SDK. */
export interface SdkReason {
  /** `aws_last_error()`, not 0. */
  readonly code: number;
  /** `aws_error_name()`, such as `AWS_ERROR_INVALID_ARGUMENT`. */
  readonly name: string;
  /** `aws_error_str()`. */
  readonly text: string;
}

/** What an {@link SdkError} is made from, beside its message. */
export interface SdkErrorOptions {
  /** The C function that failed, or the parameter that was refused. */
  readonly symbol: string;
  /** The SDK's own error, where it set one. */
  readonly sdk?: SdkReason | undefined;
  /** KMS's refusal, where its words could be had. */
  readonly kms?: { readonly name: string; readonly message: string } | undefined;
  /** Why KMS was not reached, in words that are fit for a reply. */
  readonly connection?: string | undefined;
  /** What a person can do about it. */
  readonly hint?: string | undefined;
  /** What it was made of. */
  readonly cause?: unknown;
}

/** The base class of all errors that the binding throws on purpose. */
export class SdkError extends EnclaveError {
  /** The class. */
  override name = "SdkError";
  /** The C function that failed, or the parameter that was refused. */
  readonly symbol: string;
  /** The SDK's own error, where it set one. */
  readonly sdk: SdkReason | undefined;
  /** KMS's refusal, where its words could be had. */
  readonly kms: SdkErrorOptions["kms"];
  /** Why KMS was not reached, in words that are fit for a reply. */
  readonly connection: string | undefined;

  /**
   * Called by the subclasses.
   *
   * @param message says what failed, on which input
   */
  constructor(message: string, options: SdkErrorOptions) {
    super(message, { ...options, code: "sdk" });
    this.symbol = options.symbol;
    this.sdk = options.sdk;
    this.kms = options.kms;
    this.connection = options.connection;
  }
}

/** The shared libraries could not be found, opened, or lack a symbol. */
export class SdkLibraryError extends SdkError {
  /** The class. */
  override name = "SdkLibraryError";
  /** Stable, for programs. */
  override readonly code = "sdk_library";
}

/** `aws_nitro_enclaves_library_init` or `_get_allocator` gave nothing. */
export class SdkInitError extends SdkError {
  /** The class. */
  override name = "SdkInitError";
  /** Stable, for programs. */
  override readonly code = "sdk_init";
}

/** An allocation or another small step failed. */
export class SdkGenericError extends SdkError {
  /** The class. */
  override name = "SdkGenericError";
  /** Stable, for programs. */
  override readonly code = "sdk_generic";
}

/** KMS's answer cannot be read: its struct has another layout. The SDK's own functions may still work. */
export class SdkLayoutError extends SdkGenericError {
  /** The class. */
  override name = "SdkLayoutError";
}

/** `aws_nitro_enclaves_kms_client_config_default` gave NULL. */
export class SdkKmsConfigError extends SdkError {
  /** The class. */
  override name = "SdkKmsConfigError";
  /** Stable, for programs. */
  override readonly code = "sdk_kms_config";
}

/** `aws_nitro_enclaves_kms_client_new` gave NULL: no connection or no TLS to KMS. */
export class SdkKmsClientError extends SdkError {
  /** The class. */
  override name = "SdkKmsClientError";
  /** Stable, for programs. */
  override readonly code = "sdk_kms_client";
}
