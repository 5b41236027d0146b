/**
 * The YAML 1.2 parser (`yaml`, ISC, no dependencies): its tree has the position of every value. For the parent's configuration files, so in
 * `ctl.lock`, never in `enclave.lock`. It reads two environment variables, LOG_STREAM and LOG_TOKENS, and so needs permission to read them.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { isAlias, isMap, isScalar, isSeq, LineCounter, parse, parseDocument } from "npm:yaml@2.9.1";
