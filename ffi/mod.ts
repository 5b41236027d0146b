/**
 * The public entry point of `ffi/`, the only folder that calls native code.
 *
 * @module
 */
export * from "./constants.ts";
export { AwsLcAead, type AwsLcInput, AwsLcKey, openAead, openAeadLibrary } from "./aead.ts";
export { AEAD_SYMBOLS } from "./symbols.ts";
export type { IsMapped } from "./libc.ts";
export {
  DEFAULT_LIBRARY_DIRS,
  type Dlopen,
  type OpenLibraries,
  type OpenLibrariesOptions,
} from "./library.ts";
export { COMMON_SYMBOLS, type CommonSymbols, SDK_SYMBOLS, type SdkSymbols } from "./symbols.ts";
export {
  type AwsString,
  type ClientInternals,
  Handle,
  type HandleKind,
  type InBuffer,
  type KmsClient,
  type KmsClientConfig,
  NitroSdk,
  openSdk,
  type OpenSdkOptions,
  type OutBuffer,
  type Pointer,
  type SdkLibrary,
} from "./sdk.ts";
