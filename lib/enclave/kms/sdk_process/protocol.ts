/**
 * The messages between the service and an SDK process.
 *
 * @module
 */
import { encode } from "cborg";
import { HEADER_LENGTH, newFrame } from "../../children/frames.ts";
import { isSdkErrorCode, SdkError, sdkError, type SdkErrorOptions } from "../../../../ffi/errors.ts";
import type { CredentialBytes } from "../../../shared/aws/credentials.ts";
import { EnclaveError, messageOf } from "../../../shared/errors.ts";
import type { KmsCall } from "../aws_ne/calls.ts";
import type { WarmSessionOptions, WarmSessionState } from "../aws_ne/warm_session.ts";
import type { Printed } from "./stderr.ts";

/** Well above the largest message of the protocol. Bytes. */
export const MAX_LENGTH = 1 << 20;

/** The first message: opens the SDK. */
export interface OpenRequest extends Pick<WarmSessionOptions, "seedBytes" | "idleMs" | "maxWarm"> {
  readonly id: number;
  readonly op: "open";
  readonly libraryDir?: string | undefined;
  readonly proxyPort: number;
}

/** A KMS call. The receiver wipes the credentials. */
export interface CallRequest {
  readonly id: number;
  readonly op: "call";
  readonly region: string;
  readonly credentials: CredentialBytes;
  readonly call: KmsCall;
}

export type SdkRequest = OpenRequest | CallRequest;

/** A serialised error. */
export interface CarriedError extends Pick<SdkErrorOptions, "symbol" | "hint" | "sdk" | "kms" | "isLost"> {
  readonly code: string;
  readonly message: string;
}

/** The answer to the request of the same id. */
export type SdkResponse =
  | {
    readonly id: number;
    readonly ok: true;
    readonly state: WarmSessionState;
    readonly plaintext?: Uint8Array<ArrayBuffer>;
    readonly ciphertext?: Uint8Array<ArrayBuffer> | undefined;
  }
  | {
    readonly id: number;
    readonly ok: false;
    readonly error: CarriedError;
    readonly state?: WarmSessionState | undefined;
  };

/**
 * Any message from an SDK process. One with a phase is sent before the response: the process is making a
 * client, or has made one.
 */
export type SdkMessage = SdkResponse | { readonly id: number; readonly phase: "connecting" | "calling" };

/** A message as a frame, which its sender wipes. */
export function frameOf(message: SdkRequest | SdkMessage): Uint8Array<ArrayBuffer> {
  const bytes = encode(message, { ignoreUndefinedProperties: true });
  const frame = newFrame(bytes.length);
  frame.set(bytes, HEADER_LENGTH);
  bytes.fill(0);
  return frame;
}

/** Serialises an error. One that is not an {@link SdkError} loses its code, but keeps its message. */
export function packError(thrown: unknown): CarriedError {
  if (thrown instanceof SdkError) {
    const { code, message, symbol, hint, sdk, kms, isLost } = thrown;
    return { code, message, symbol, hint, sdk, kms, isLost };
  }
  const hint = thrown instanceof EnclaveError ? thrown.hint : undefined;
  return { code: "sdk_process", message: messageOf(thrown), symbol: "sdk_process", hint };
}

/** What the SDK printed, for the end of a message. */
export function printedSuffix(printed: Printed | undefined): string {
  return printed === undefined || printed.lines === "" ? "" : ` (the SDK said: ${printed.lines})`;
}

/**
 * Restores a serialised error.
 *
 * @param printed by the SDK meanwhile, and its meaning: the reason where KMS gave none
 */
export function unpackError({ code, message, ...carried }: CarriedError, printed?: Printed): SdkError {
  const known = isSdkErrorCode(code) ? code : "sdk_process";
  if (carried.kms !== undefined) return sdkError(known, message, carried);
  const { cause } = printed ?? {};
  const reason = cause === undefined ? {} : { connection: cause.words, hint: cause.hint };
  return sdkError(known, message + printedSuffix(printed), { ...carried, ...reason });
}
