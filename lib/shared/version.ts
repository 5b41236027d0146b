/**
 * The program's version. A test compares it with `deno.json`.
 *
 * @module
 */

/** Semantic version. */
export const VERSION = "0.2.0";
