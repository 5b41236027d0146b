/**
 * A dependency of the tests only: MetaMask's hash of typed data.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { SignTypedDataVersion, TypedDataUtils } from "npm:@metamask/eth-sig-util@9.0.0";
