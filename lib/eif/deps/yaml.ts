/**
 * The part of npm's yaml that reading a manifest takes. In the parent's lock file alone (`host.lock`): nothing of it is in the enclave.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { parse } from "npm:yaml@2.9.1";
