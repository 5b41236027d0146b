/**
 * What the binding and the KMS calls through it throw: one class with a code for each cause, and five named classes for the steps
 * of a Decrypt.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";

/** The causes. */
export const SDK_ERROR_CODES = [
  "invalid_argument", // refused before any C code saw it; `symbol` names the parameter
  "kms_timeout", // the SDK did not return before the deadline
  "sdk_busy", // the queue of calls is full
  "sdk_generic", // an allocation or another small step failed
  "sdk_init", // `aws_nitro_enclaves_library_init` or `_get_allocator` gave nothing
  "sdk_kms_client", // `aws_nitro_enclaves_kms_client_new` gave NULL: no connection or no TLS to KMS
  "sdk_kms_config", // `aws_nitro_enclaves_kms_client_config_default` gave NULL
  "sdk_kms_data_key", // a GenerateDataKey failed
  "sdk_kms_decrypt", // a Decrypt failed
  "sdk_kms_random", // a GenerateRandom failed
  "sdk_library", // the shared libraries could not be found, opened, or lack a symbol
  "sdk_process", // an SDK process ended in the middle of a call, or cannot be started
] as const;

/** One of {@link SDK_ERROR_CODES}. */
export type SdkErrorCode = typeof SDK_ERROR_CODES[number];

/** What an {@link SdkError} is made from, beside its code and message. */
export interface SdkErrorOptions {
  /** The C function that failed, or the parameter that was refused. */
  readonly symbol: string;
  /** `aws_last_error()`, with its name and text; often the SDK sets none. */
  readonly sdk?: { readonly code: number; readonly name: string; readonly text: string } | undefined;
  /** KMS's error name and message, where KMS gave them. */
  readonly kms?: { readonly name: string; readonly message: string } | undefined;
  /** Why KMS was not reached, as it may be sent in a reply. */
  readonly connection?: string | undefined;
  /** KMS did not answer, and the connection is lost: the call is idempotent, and may be repeated. */
  readonly isLost?: boolean | undefined;
  /** What a person can do about it. */
  readonly hint?: string | undefined;
  /** The underlying error. */
  readonly cause?: unknown;
}

/** An error of the binding. */
export class SdkError extends EnclaveError {
  /** The class. */
  override name = "SdkError";
  /** The cause. */
  declare readonly code: SdkErrorCode;
  /** The C function that failed, or the parameter that was refused. */
  readonly symbol: string;
  /** The SDK's own error, where it set one. */
  readonly sdk: SdkErrorOptions["sdk"];
  /** KMS's error name and message, where KMS gave them. */
  readonly kms: SdkErrorOptions["kms"];
  /** Why KMS was not reached, as it may be sent in a reply. */
  readonly connection: string | undefined;
  /** KMS did not answer, and the connection is lost: the call is idempotent, and may be repeated. */
  readonly isLost: boolean;

  /** Made by {@link sdkError}, in the class of its code. @param message says what failed, on which input */
  constructor(code: SdkErrorCode, message: string, options: SdkErrorOptions) {
    super(message, { ...options, code });
    ({ symbol: this.symbol, sdk: this.sdk, kms: this.kms, connection: this.connection } = options);
    this.isLost = options.isLost === true;
  }
}

/** `sdk_init` */
export class SdkInitError extends SdkError {
  /** The class. */
  override name = "SdkInitError";
}

/** `sdk_generic` */
export class SdkGenericError extends SdkError {
  /** The class. */
  override name = "SdkGenericError";
}

/** `sdk_kms_config` */
export class SdkKmsConfigError extends SdkError {
  /** The class. */
  override name = "SdkKmsConfigError";
}

/** `sdk_kms_client` */
export class SdkKmsClientError extends SdkError {
  /** The class. */
  override name = "SdkKmsClientError";
}

/** `sdk_kms_decrypt` */
export class SdkKmsDecryptError extends SdkError {
  /** The class. */
  override name = "SdkKmsDecryptError";
}

const CLASSES: Partial<Record<SdkErrorCode, typeof SdkError>> = {
  sdk_generic: SdkGenericError,
  sdk_init: SdkInitError,
  sdk_kms_client: SdkKmsClientError,
  sdk_kms_config: SdkKmsConfigError,
  sdk_kms_decrypt: SdkKmsDecryptError,
};

/** Whether a text is one of the codes. */
export function isSdkErrorCode(code: string): code is SdkErrorCode {
  return SDK_ERROR_CODES.some((known) => known === code);
}

/** An error of a cause, in the class that is named for it. */
export function sdkError(code: SdkErrorCode, message: string, options: SdkErrorOptions): SdkError {
  return new (CLASSES[code] ?? SdkError)(code, message, options);
}
