/**
 * What the service and the SDK's host say to each other: the same messages over a Worker's port and over a child process's pipes.
 *
 * @module
 */
import type { KmsCall, WarmSessionState } from "../../aws_ne/mod.ts";
import { SDK_ERROR_CLASSES, SdkError, SdkHostError } from "../../aws_ne/mod.ts";
import { EnclaveError, messageOf } from "../../errors.ts";

/** The first message: opens the SDK. */
export interface OpenRequest {
  readonly id: number;
  readonly op: "open";
  readonly libraryDir?: string | undefined;
  readonly proxyPort: number;
  readonly seedBytes: number;
  readonly idleMs: number;
  readonly maxWarm: number;
  readonly maxClients: number;
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

export type HostRequest = OpenRequest | CallRequest;

/** An error, as it crosses. */
export interface CarriedError {
  readonly name: string;
  readonly message: string;
  readonly symbol: string;
  readonly hint?: string | undefined;
  readonly sdk?: { readonly code: number; readonly name: string; readonly text: string } | undefined;
  readonly kms?: { readonly name: string; readonly message: string } | undefined;
}

/** The answer to the request of the same id. */
export type HostResponse =
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
    readonly state?: WarmSessionState;
  };

/** Takes an error apart for the way. What is not an {@link SdkError} loses its class, not its words. */
export function packError(thrown: unknown): CarriedError {
  if (thrown instanceof SdkError) {
    const { name, message, symbol, hint, sdk, kms } = thrown;
    return { name, message, symbol, hint, sdk, kms };
  }
  const hint = thrown instanceof EnclaveError ? thrown.hint : undefined;
  return { name: "SdkHostError", message: messageOf(thrown), symbol: "sdk_host", hint };
}

/**
 * Puts an error together again.
 *
 * @param said what the SDK printed meanwhile, where that is known
 */
export function unpackError(carried: CarriedError, said?: string): SdkError {
  const name = Object.hasOwn(SDK_ERROR_CLASSES, carried.name)
    ? carried.name as keyof typeof SDK_ERROR_CLASSES
    : "SdkHostError";
  const words = carried.kms === undefined && said !== undefined && said !== ""
    ? ` (the SDK said: ${said})`
    : "";
  return new SDK_ERROR_CLASSES[name](carried.message + words, carried);
}

/** The error for a host that is gone. */
export function hostLost(how: string, said?: string): SdkHostError {
  return new SdkHostError(
    `The SDK's host ended in the middle of a call: ${how}${said ? ` (it said: ${said})` : ""}`,
    {
      symbol: "sdk_host",
      hint:
        "It is started again. If this repeats, run with --sdk-host process, which survives a crash of the SDK, and look at its last words.",
    },
  );
}
