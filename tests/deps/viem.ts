/**
 * A dependency of the benchmark and the tests only: viem's local accounts, and its hash of typed data.
 *
 * @module
 */
// deno-lint-ignore-file no-import-prefix
export { privateKeyToAccount } from "npm:viem@2.57.1/accounts";
export { hashTypedData } from "npm:viem@2.57.1";
