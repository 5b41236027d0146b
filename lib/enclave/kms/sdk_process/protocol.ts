/**
 * The messages between the service and an SDK process.
 *
 * @module
 */
import { encode } from "cborg";
import { newFrame } from "../../children/frames.ts";
import type { KmsCall, WarmSessionState } from "../aws_ne/mod.ts";
import { ConnectionLost, SDK_ERROR_CLASSES, SdkError, SdkProcessError } from "../aws_ne/mod.ts";
import { EnclaveError, messageOf } from "../../../shared/errors.ts";
import type { Said } from "./said.ts";

/** Well above the largest message of the protocol. Bytes. */
export const MAX_LENGTH = 1 << 20;

/** The first message: opens the SDK. */
export interface OpenRequest {
  readonly id: number;
  readonly op: "open";
  readonly libraryDir?: string | undefined;
  readonly proxyPort: number;
  readonly seedBytes: number;
  readonly idleMs: number;
  readonly maxWarm: number;
}

/** Credentials as bytes; the receiver wipes them. */
export interface CredentialBytes {
  readonly accessKeyId: Uint8Array<ArrayBuffer>;
  readonly secretAccessKey: Uint8Array<ArrayBuffer>;
  readonly sessionToken: Uint8Array<ArrayBuffer>;
}

/** A KMS call. */
export interface CallRequest {
  readonly id: number;
  readonly op: "call";
  readonly region: string;
  readonly credentials: CredentialBytes;
  readonly call: KmsCall;
}

export type SdkRequest = OpenRequest | CallRequest;

/** A serialised error. */
export interface CarriedError {
  readonly name: string;
  readonly message: string;
  readonly symbol: string;
  readonly hint?: string | undefined;
  readonly sdk?: { readonly code: number; readonly name: string; readonly text: string } | undefined;
  readonly kms?: { readonly name: string; readonly message: string } | undefined;
}

/** The answer to the request of the same id. */
export type SdkResponse =
  | {
    readonly id: number;
    readonly ok: true;
    readonly state: WarmSessionState;
    readonly plaintext?: Uint8Array<ArrayBuffer>;
    readonly ciphertext?: Uint8Array<ArrayBuffer>;
  }
  | {
    readonly id: number;
    readonly ok: false;
    readonly error: CarriedError;
    /** KMS did not answer, and the client was dropped, or none could be made: the call may be repeated. */
    readonly connectionLost?: boolean;
    readonly state?: WarmSessionState;
  };

/** Sent before the response: the request of that id is making a client, or has made one. */
export interface SdkProgress {
  readonly id: number;
  readonly phase: "connecting" | "calling";
}

/** Any message from an SDK process. */
export type SdkMessage = SdkResponse | SdkProgress;

/** A message as a frame, which its sender wipes. */
export function frameOf(message: SdkRequest | SdkMessage): Uint8Array<ArrayBuffer> {
  const bytes = encode(message, { ignoreUndefinedProperties: true });
  const { frame, body } = newFrame(bytes.length);
  body.set(bytes);
  bytes.fill(0);
  return frame;
}

/** Serialises an error. One that is not an {@link SdkError} loses its class, but keeps its message. */
export function packError(thrown: unknown): CarriedError {
  if (thrown instanceof ConnectionLost) return packError(thrown.cause);
  if (thrown instanceof SdkError) {
    const { name, message, symbol, hint, sdk, kms } = thrown;
    return { name, message, symbol, hint, sdk, kms };
  }
  const hint = thrown instanceof EnclaveError ? thrown.hint : undefined;
  return { name: "SdkProcessError", message: messageOf(thrown), symbol: "sdk_process", hint };
}

/** What the SDK printed, for the end of a message. */
export function saidWords(said: Said | undefined): string {
  return said === undefined || said.lines === "" ? "" : ` (the SDK said: ${said.lines})`;
}

/**
 * Restores a serialised error.
 *
 * @param said what the SDK printed meanwhile, and its meaning
 */
export function unpackError(carried: CarriedError, said?: Said): SdkError {
  const name = Object.hasOwn(SDK_ERROR_CLASSES, carried.name)
    ? carried.name as keyof typeof SDK_ERROR_CLASSES
    : "SdkProcessError";
  const unexplained = carried.kms === undefined ? said : undefined;
  const words = saidWords(unexplained);
  const cause = unexplained?.cause;
  return new SDK_ERROR_CLASSES[name](carried.message + words, {
    ...carried,
    ...(cause === undefined ? {} : { connection: cause.words, hint: cause.hint }),
  });
}

/** The error for a process that ended. */
export function processLost(how: string, said: string): SdkProcessError {
  return new SdkProcessError(`An SDK process ended: ${how}${said === "" ? "" : ` (it said: ${said})`}`, {
    symbol: "sdk_process",
    hint: "Another one is started. If this repeats, look at its last words in the log (sdk_process_lost).",
  });
}
