/**
 * A dependency of the tests only: a DynamoDB server, to test the real protocol.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { default } from "npm:dynalite@4.0.0";
