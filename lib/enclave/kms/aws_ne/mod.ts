/**
 * KMS through the AWS Nitro Enclaves SDK for C, in this process.
 *
 * @module
 */
import { Credentials, type CredentialStrings } from "../../../shared/aws/credentials.ts";
import { type DecryptOptions, kmsDecrypt } from "./one_shot.ts";

export type {
  AwsString,
  ClientInternals,
  CommonSymbols,
  Dlopen,
  Handle,
  HandleKind,
  InBuffer,
  IsMapped,
  KmsClient,
  KmsClientConfig,
  NitroSdk,
  OpenLibraries,
  OpenLibrariesOptions,
  OpenSdkOptions,
  OutBuffer,
  Pointer,
  SdkLibrary,
  SdkSymbols,
} from "../../../../ffi/mod.ts";
export { COMMON_SYMBOLS, openSdk, SDK_SYMBOLS } from "../../../../ffi/mod.ts";
export { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
export { EnclaveError, type EnclaveErrorOptions } from "../../../shared/errors.ts";
export { type EncryptionContext } from "../../../shared/aws/kms_limits.ts";
export { isRegion } from "../../../shared/aws/region.ts";
export { callError, ConnectionLost } from "./calls.ts";
export type {
  DataKeyCall,
  DecryptCall,
  KeySpec,
  KmsCall,
  KmsCallResult,
  ProxyEndpoint,
  RandomCall,
} from "./calls.ts";
export { Credentials, type CredentialStrings } from "../../../shared/aws/credentials.ts";
export * from "./errors.ts";
export {
  type DecryptOptions,
  DEFAULT_ENDPOINT,
  kmsDecrypt,
  kmsGenerateDataKey,
  kmsGenerateRandom,
  type OneShotOptions,
} from "./one_shot.ts";
export { type DataKey } from "../kms.ts";
export { WarmSession, type WarmSessionOptions, type WarmSessionState } from "./warm_session.ts";

/** Options of {@link callKmsDecrypt}. */
export interface CallKmsDecryptOptions extends DecryptOptions {
  /** Such as `us-west-2`. */
  readonly region: string;
  /** Those of the parent's IAM role. */
  readonly credentials: CredentialStrings;
}

/**
 * KMS Decrypt for an app: bytes in, bytes out. Replaces running `kmstool_enclave_cli decrypt` and cutting "PLAINTEXT: " off its output.
 * Not for a service, which uses {@link WarmSession}: releasing the client can crash the process.
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
