/**
 * The program's version, in the one place beside `deno.json` that a test compares with it.
 *
 * @module
 */

/** Semantic version. */
export const VERSION = "0.1.0";
