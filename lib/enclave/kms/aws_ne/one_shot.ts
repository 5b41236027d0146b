/**
 * One-shot KMS calls: each initialises the library, makes the call, and releases everything in reverse order,
 * also after an error. The functions are synchronous and block.
 *
 * Releasing includes `aws_nitro_enclaves_kms_client_destroy`, which races with the client's event loop and
 * can crash the process before it uses the result (upstream issue 95). So do not use these functions in a
 * service, or anywhere else where a crash costs more than the call. A service uses the warm session, in a
 * process of its own; a command that ends after its call sets `leaveOpen`.
 *
 * @module
 */
import { AWS_NE_VSOCK_PROXY_PORT } from "../../../../ffi/constants.ts";
import { type NitroSdk, openSdk } from "../../../../ffi/sdk.ts";
import { Credentials } from "../../../shared/aws/credentials.ts";
import type { CredentialStrings } from "../../../shared/aws/kms_limits.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { checkCall } from "./arguments.ts";
import { runBlocking } from "./blocking_calls.ts";
import type { DecryptCall, KmsCall, KmsCallResult } from "./calls.ts";

/** Options of every one-shot call. */
export interface OneShotOptions {
  /** Already open libraries; by default, they are searched in the usual folders. */
  readonly sdk?: NitroSdk | undefined;
  /** Port of the parent's vsock-proxy; 8000 by default. */
  readonly proxyPort?: number | undefined;
  /** Bytes to seed the kernel's entropy pool with before the call. Outside an enclave this has no effect. */
  readonly seedBytes?: number;
  /**
   * Neither destroys the client nor cleans up the library, also after an error: for a process that uses the
   * result and ends. False by default.
   */
  readonly leaveOpen?: boolean;
}

/** Options of {@link kmsDecrypt}. */
export type DecryptOptions = OneShotOptions & Omit<DecryptCall, "kind" | "ciphertext">;

/** Options of {@link callKmsDecrypt}. */
export type CallKmsDecryptOptions = DecryptOptions & {
  /** Such as `us-west-2`. */
  readonly region: string;
  /** Those of the parent's IAM role. */
  readonly credentials: CredentialStrings;
};

/**
 * One KMS call with attestation. Not for a service: releasing the client can crash the process.
 *
 * @param region such as `us-west-2`
 * @param credentials borrowed; wiping them stays the caller's
 * @returns the result, the caller's to dispose
 * @throws {SdkError} of the step that failed; what was acquired by then is released first
 */
export function kmsCall(
  region: string,
  credentials: Credentials,
  call: KmsCall,
  options: OneShotOptions = {},
): KmsCallResult {
  checkCall(region, credentials, call);
  const { proxyPort = AWS_NE_VSOCK_PROXY_PORT } = options;
  using stack = new DisposableStack();
  const release = <T extends Disposable>(held: T): T => options.leaveOpen ? held : stack.use(held);
  const library = release((options.sdk ?? openSdk()).initLibrary());
  if (options.seedBytes !== undefined) library.seedEntropy(options.seedBytes);
  const client = release(library.connect(stack, { region, credentials: credentials.expose(), proxyPort }));
  return runBlocking({ library, client, internals: library.internalsOf(client, region) }, call);
}

/**
 * KMS Decrypt with attestation, in one call ({@link kmsCall}).
 *
 * @param ciphertext KMS's CiphertextBlob, 1 to 6144 bytes
 * @returns the plaintext, the caller's to dispose
 * @throws {SdkError} of the step that failed; what was acquired by then is released first
 */
export function kmsDecrypt(
  region: string,
  credentials: Credentials,
  ciphertext: Uint8Array<ArrayBuffer>,
  options: DecryptOptions = {},
): SecretBytes {
  return kmsCall(region, credentials, { ...options, kind: "decrypt", ciphertext }, options).plaintext;
}

/**
 * KMS Decrypt for an app: bytes in, bytes out. Replaces running `kmstool_enclave_cli decrypt` and cutting "PLAINTEXT: " off its output.
 * Not for a service: releasing the client can crash the process.
 *
 * @param ciphertext KMS's CiphertextBlob, 1 to 6144 bytes
 * @returns the plaintext, the caller's to wipe
 * @throws {SdkError} of the step that failed
 */
export function callKmsDecrypt(
  ciphertext: Uint8Array<ArrayBuffer>,
  options: CallKmsDecryptOptions,
): Uint8Array<ArrayBuffer> {
  using credentials = Credentials.fromStrings(options.credentials);
  using plaintext = kmsDecrypt(options.region, credentials, ciphertext, options);
  return new Uint8Array(plaintext.expose());
}
