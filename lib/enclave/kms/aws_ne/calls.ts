/**
 * The types of KMS calls, their errors, and the creation of a client. `attested_request.ts` and `blocking_calls.ts` make the calls; the warm
 * session and the one-shot functions use all of these.
 *
 * @module
 */
import { type SdkError, sdkError, type SdkErrorOptions } from "../../../../ffi/errors.ts";
import type { ClientInternals, KmsClient, SdkLibrary } from "../../../../ffi/sdk.ts";
import { hintFor, type KmsReason } from "../../../shared/aws/kms_reasons.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import type { DataKeyRequest, DecryptRequest } from "../kms.ts";

/** One Decrypt. */
export interface DecryptCall extends DecryptRequest {
  /** Which call. */
  readonly kind: "decrypt";
  /** Defaults to SYMMETRIC_DEFAULT where a key id is given. */
  readonly algorithm?: string | undefined;
}

/** One GenerateDataKey. */
export interface DataKeyCall extends DataKeyRequest {
  /** Which call. */
  readonly kind: "generateDataKey";
}

/** One GenerateRandom. */
export interface RandomCall {
  /** Which call. */
  readonly kind: "generateRandom";
  /** Bytes, 1 to 1024. */
  readonly length: number;
}

/** Any call. */
export type KmsCall = DecryptCall | DataKeyCall | RandomCall;

/** The result of a call. Only a data key has `ciphertext`. */
export interface KmsCallResult {
  /** The caller's to dispose. */
  readonly plaintext: SecretBytes;
  /** The data key as KMS wrapped it. */
  readonly ciphertext?: Uint8Array<ArrayBuffer> | undefined;
}

/** An initialised SDK with a client. */
export interface Connection {
  readonly library: SdkLibrary;
  readonly client: KmsClient;
  /** The client's internals for attested requests; or why these libraries do not support them. */
  readonly internals: ClientInternals | { readonly unknown: string };
}

/** The name in KMS's API and the error's code, by kind of call. */
export const OPERATIONS = {
  decrypt: { name: "Decrypt", code: "sdk_kms_decrypt" },
  generateDataKey: { name: "GenerateDataKey", code: "sdk_kms_data_key" },
  generateRandom: { name: "GenerateRandom", code: "sdk_kms_random" },
} as const;

/** The error of a call's kind, with KMS's reason where KMS gave one. */
export function callError(
  { kind }: KmsCall,
  reason: KmsReason | undefined,
  options: Omit<SdkErrorOptions, "kms" | "hint">,
): SdkError {
  const { name, code } = OPERATIONS[kind];
  const words = reason === undefined
    ? "failed and gave no reason"
    : `failed: ${reason.name}${reason.message === "" ? "" : `: ${reason.message}`}`;
  return sdkError(code, `KMS ${name} ${words}`, { ...options, kms: reason, hint: hintFor(reason) });
}

/** The algorithm of a Decrypt: with a key id, KMS needs one. */
export function algorithmOf({ keyId, algorithm }: DecryptCall): string | undefined {
  return keyId === undefined ? algorithm : algorithm ?? "SYMMETRIC_DEFAULT";
}
