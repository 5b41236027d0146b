/**
 * A dependency of the tests only: it is in their lock file (`tests/deno.lock`), and not in `deno.json`'s
 * import map under its npm name. Users of the program do not fetch it, and `deno compile` puts every package
 * of a lock file into the binary (measured: 146 MB with aws-crt, 93 without).
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export * from "npm:fast-check@4.10.2";
// deno-lint-ignore no-import-prefix
export { default } from "npm:fast-check@4.10.2";
