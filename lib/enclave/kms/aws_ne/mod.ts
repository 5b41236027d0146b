/**
 * KMS through the AWS Nitro Enclaves SDK for C, in this process: the exported module `./aws_ne`.
 *
 * @module
 */
export {
  type AwsByteBuf,
  type Bytes,
  type ClientInternals,
  type ClientParts,
  type IsMapped,
  KmsClient,
  NitroSdk,
  openSdk,
  type OpenSdkOptions,
  type Pointer,
  SdkLibrary,
} from "../../../../ffi/sdk.ts";
export * from "../../../../ffi/errors.ts";
export type { Dlopen, OpenLibraries, OpenLibrariesOptions } from "../../../../ffi/library.ts";
export { COMMON_SYMBOLS, SDK_SYMBOLS, type Symbols } from "../../../../ffi/symbols.ts";
export { type CredentialBytes, Credentials } from "../../../shared/aws/credentials.ts";
export type { CredentialStrings } from "../../../shared/aws/kms_limits.ts";
export { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
export { EnclaveError, type EnclaveErrorOptions } from "../../../shared/errors.ts";
export type { DataKeyRequest, DecryptRequest, EncryptionContext } from "../kms.ts";
export type { DataKeyCall, DecryptCall, KmsCall, KmsCallResult, RandomCall } from "./calls.ts";
export * from "./one_shot.ts";
export { WarmSession, type WarmSessionOptions, type WarmSessionState } from "./warm_session.ts";
