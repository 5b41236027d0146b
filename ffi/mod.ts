/**
 * The unsafe room's front door.
 *
 * @module
 */
export * from "./constants.ts";
export { DEFAULT_LIBRARY_DIRS, type Dlopen, type OpenLibrariesOptions } from "./library.ts";
export { Handle, type KmsClient, NitroSdk, openSdk, type SdkLibrary } from "./sdk.ts";
