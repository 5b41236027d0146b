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
import type { DataKey } from "../kms.ts";
import {
  AWS_NE_VSOCK_PROXY_ADDR,
  AWS_NE_VSOCK_PROXY_PORT,
  type NitroSdk,
  openSdk,
} from "../../../../ffi/mod.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import type { EncryptionContext } from "../../../shared/aws/kms_limits.ts";
import {
  checkCall,
  connect,
  ConnectionLost,
  type KeySpec,
  type KmsCall,
  type KmsCallResult,
  type ProxyEndpoint,
} from "./calls.ts";
import { runBlocking } from "./blocking_calls.ts";
import type { Credentials } from "../../../shared/aws/credentials.ts";
import { SdkKmsDataKeyError } from "./errors.ts";

/** The address where the SDK's own tools expect the parent's vsock-proxy. */
export const DEFAULT_ENDPOINT: ProxyEndpoint = {
  cid: AWS_NE_VSOCK_PROXY_ADDR,
  port: AWS_NE_VSOCK_PROXY_PORT,
};

/** Options of every one-shot call. */
export interface OneShotOptions {
  /** Already open libraries; by default, they are searched in the usual folders. */
  readonly sdk?: NitroSdk | undefined;
  /** The parent's vsock-proxy; CID 3, port 8000 by default. */
  readonly endpoint?: ProxyEndpoint | undefined;
  /** Bytes to seed the kernel's entropy pool with before the call. Outside an enclave this has no effect. */
  readonly seedBytes?: number;
  /**
   * Neither destroys the client nor cleans up the library, also after an error: for a process that uses the
   * result and ends. False by default.
   */
  readonly leaveOpen?: boolean;
}

/** Options of {@link kmsDecrypt}. */
export interface DecryptOptions extends OneShotOptions {
  /** ARN of the key that must have made the ciphertext. */
  readonly keyId?: string | undefined;
  /** SYMMETRIC_DEFAULT by default, where a key id is given. */
  readonly algorithm?: string | undefined;
  /** The EncryptionContext that the ciphertext was made under. */
  readonly context?: EncryptionContext | undefined;
}

function oneShot(
  region: string,
  credentials: Credentials,
  call: KmsCall,
  options: OneShotOptions,
): KmsCallResult {
  checkCall(region, credentials, call);
  const { leaveOpen = false } = options;
  using stack = new DisposableStack();
  // Never closed: unloading code that a thread of the SDK may still be in would crash the process.
  const sdk = options.sdk ?? openSdk();
  const library = sdk.initLibrary();
  if (!leaveOpen) stack.use(library);
  if (options.seedBytes !== undefined) sdk.seedEntropy(options.seedBytes);
  const client = connect(stack, sdk, {
    library,
    region,
    credentials,
    endpoint: options.endpoint ?? DEFAULT_ENDPOINT,
    owner: leaveOpen ? "process" : "library",
  });
  if (!leaveOpen) stack.use(client);
  try {
    return runBlocking({ sdk, library, client, internals: sdk.internalsOf(library, client, region) }, call);
  } catch (thrown) {
    throw thrown instanceof ConnectionLost ? thrown.cause : thrown;
  }
}

/**
 * KMS Decrypt with attestation, in one call. Not for a service, which uses {@link WarmSession}: releasing the
 * client can crash the process.
 *
 * @param region such as `us-west-2`
 * @param credentials borrowed; wiping them stays the caller's
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
  const { keyId, algorithm, context } = options;
  return oneShot(region, credentials, { kind: "decrypt", ciphertext, keyId, algorithm, context }, options)
    .plaintext;
}

/**
 * KMS GenerateDataKey with attestation, in one call.
 *
 * @param keyId the KMS key's ARN
 * @throws {SdkError} of the step that failed
 */
export function kmsGenerateDataKey(
  region: string,
  credentials: Credentials,
  keyId: string,
  options: OneShotOptions & {
    readonly keySpec?: KeySpec;
    readonly context?: EncryptionContext | undefined;
  } = {},
): DataKey {
  const { keySpec = "AES_256", context } = options;
  const { plaintext, ciphertext } = oneShot(
    region,
    credentials,
    { kind: "generateDataKey", keyId, keySpec, context },
    options,
  );
  if (ciphertext === undefined) {
    plaintext[Symbol.dispose]();
    throw new SdkKmsDataKeyError("KMS gave no wrapped data key", {
      symbol: "aws_kms_generate_data_key_blocking",
    });
  }
  return { plaintext, ciphertext };
}

/**
 * KMS GenerateRandom with attestation, in one call.
 *
 * @param length bytes, 1 to 1024
 * @throws {SdkError} of the step that failed
 */
export function kmsGenerateRandom(
  region: string,
  credentials: Credentials,
  length: number,
  options: OneShotOptions = {},
): SecretBytes {
  return oneShot(region, credentials, { kind: "generateRandom", length }, options).plaintext;
}
