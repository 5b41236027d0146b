/**
 * The types of KMS calls, their checks, and the creation of a client. `attested_request.ts` and `blocking_calls.ts` make the calls; the warm
 * session and the one-shot functions use all of these.
 *
 * @module
 */
import type { ClientInternals, KmsClient, NitroSdk, SdkLibrary } from "../../../../ffi/mod.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import {
  checkAlgorithm,
  checkCiphertext,
  checkCredentials,
  checkKeyId,
  checkRandomLength,
  checkRegion,
} from "./arguments.ts";
import { type EncryptionContext } from "../../../shared/aws/kms_limits.ts";
import type { Credentials } from "../../../shared/aws/credentials.ts";
import {
  type KmsReason,
  type SdkError,
  type SdkErrorOptions,
  SdkKmsDataKeyError,
  SdkKmsDecryptError,
  SdkKmsRandomError,
} from "./errors.ts";
import { hintFor } from "../../../shared/aws/kms_reasons.ts";

/** Length of a data key. */
export type KeySpec = "AES_256" | "AES_128";

/** How the parent's vsock-proxy is reached. */
export interface ProxyEndpoint {
  /** Decimal CID; the parent is always "3". */
  readonly cid: string;
  /** 1 to 65535. */
  readonly port: number;
}

/** One Decrypt. */
export interface DecryptCall {
  /** Which call. */
  readonly kind: "decrypt";
  /** KMS's CiphertextBlob, 1 to 6144 bytes. */
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  /** The key's ARN. Omitted only where the ciphertext identifies the key. */
  readonly keyId?: string | undefined;
  /** Defaults to SYMMETRIC_DEFAULT where a key id is given. */
  readonly algorithm?: string | undefined;
  /** The EncryptionContext that the ciphertext was made under. */
  readonly context?: EncryptionContext | undefined;
}

/** One GenerateDataKey. */
export interface DataKeyCall {
  /** Which call. */
  readonly kind: "generateDataKey";
  /** ARN of the key that wraps it. */
  readonly keyId: string;
  /** AES_256 or AES_128. */
  readonly keySpec: KeySpec;
  /** An EncryptionContext to bind. */
  readonly context?: EncryptionContext | undefined;
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
  readonly ciphertext?: Uint8Array<ArrayBuffer>;
}

/** An initialised SDK with a client. */
export interface Connection {
  readonly sdk: NitroSdk;
  readonly library: SdkLibrary;
  readonly client: KmsClient;
  /** The client's internals for attested requests; or why these libraries do not support them. */
  readonly internals: ClientInternals | { readonly unknown: string };
}

/**
 * KMS did not answer, and the connection is lost. The call may be repeated on a new one, since all calls are idempotent. `cause` is the error
 * to throw when no further attempt is made.
 */
export class ConnectionLost extends Error {
  /** Of the class. */
  override name = "ConnectionLost";
  /** The error to throw where no further attempt is made. */
  override readonly cause: SdkError;

  /** Made for a call that KMS did not answer. @param cause the error to throw in the end */
  constructor(cause: SdkError) {
    super("KMS did not answer");
    this.cause = cause;
  }
}

const OPERATIONS = {
  decrypt: "Decrypt",
  generateDataKey: "GenerateDataKey",
  generateRandom: "GenerateRandom",
} as const;

/** The name of a call's operation in KMS's API. */
export function operationOf(call: KmsCall): (typeof OPERATIONS)[KmsCall["kind"]] {
  return OPERATIONS[call.kind];
}

/** The error of a call's kind, with KMS's reason where KMS gave one. */
export function callError(
  call: KmsCall,
  reason: KmsReason | undefined,
  options: Omit<SdkErrorOptions, "kms" | "hint">,
): SdkError {
  const classes = {
    decrypt: SdkKmsDecryptError,
    generateDataKey: SdkKmsDataKeyError,
    generateRandom: SdkKmsRandomError,
  };
  const words = reason === undefined
    ? "failed and gave no reason"
    : `failed: ${reason.name}${reason.message === "" ? "" : `: ${reason.message}`}`;
  return new classes[call.kind](`KMS ${operationOf(call)} ${words}`, {
    ...options,
    kms: reason,
    hint: hintFor(reason),
  });
}

/** @throws {SdkArgumentError} that names the first invalid parameter. */
export function checkCall(region: string, credentials: Credentials, call: KmsCall): void {
  checkRegion(region);
  checkCredentials(credentials);
  switch (call.kind) {
    case "decrypt":
      checkCiphertext(call.ciphertext);
      if (call.keyId !== undefined) checkKeyId(call.keyId);
      if (call.algorithm !== undefined) checkAlgorithm(call.algorithm);
      return;
    case "generateDataKey":
      return checkKeyId(call.keyId);
    case "generateRandom":
      return checkRandomLength(call.length);
    default:
      return call satisfies never;
  }
}

/**
 * Makes a client: strings, endpoint, configuration, client, in that order. All but the client are released when `stack` is.
 *
 * @throws {SdkGenericError | SdkKmsConfigError | SdkKmsClientError} by the step that failed.
 */
export function connect(
  stack: DisposableStack,
  sdk: NitroSdk,
  options: {
    readonly library: SdkLibrary;
    readonly region: string;
    readonly credentials: Credentials;
    readonly endpoint: ProxyEndpoint;
    readonly owner: "library" | "process";
  },
): KmsClient {
  const { library, credentials } = options;
  const string = (bytes: Uint8Array<ArrayBuffer>) => stack.use(sdk.newString(library, bytes));
  const config = sdk.newClientConfig(library, {
    region: string(new TextEncoder().encode(options.region)),
    accessKeyId: string(credentials.accessKeyId.expose()),
    secretAccessKey: string(credentials.secretAccessKey.expose()),
    sessionToken: string(credentials.sessionToken.expose()),
    endpoint: sdk.endpoint(options.endpoint.cid, options.endpoint.port),
  });
  stack.use(config);
  return sdk.newClient(library, config, options.owner);
}
