/**
 * A dependency of the tests only: its shared library exports the real aws-c-common, which `scripts/build.ts` copies to where the
 * contract suite opens it.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { default } from "npm:aws-crt@1.33.2/package.json" with { type: "json" };
