/**
 * A dependency of the tests alone: a DynamoDB server, to speak the real protocol with.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { default } from "npm:dynalite@4.0.0";
