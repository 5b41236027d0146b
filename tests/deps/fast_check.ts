/**
 * A dependency of the tests alone. Not in `deno.json`'s import map under its npm name, since `deno compile` puts every package that is named
 * there into the binary (measured: 146 MB with aws-crt in the map, 93 without).
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export * from "npm:fast-check@4.10.2";
// deno-lint-ignore no-import-prefix
export { default } from "npm:fast-check@4.10.2";
