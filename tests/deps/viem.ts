/**
 * A dependency of the benchmark only: viem's local accounts.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { privateKeyToAccount } from "npm:viem@2.57.1/accounts";
