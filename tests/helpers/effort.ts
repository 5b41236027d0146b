/**
 * How many runs a test makes: a short count by default, the full count in a soak (`deno task soak`,
 * `scripts/test.ts --soak`). The switch is an argument of the test modules, so that reading it needs no
 * permission.
 *
 * @module
 */

/** Whether this is a soak. */
export const SOAK: boolean = Deno.args.includes("--soak");

/** How many times: the full count in a soak, the short one otherwise. */
export function count(full: number, short: number): number {
  return SOAK ? full : short;
}

/** Options of fast-check with so many runs in a soak, and a fifth of them otherwise. */
export function runs(full: number): { readonly numRuns: number } {
  return { numRuns: count(full, Math.ceil(full / 5)) };
}
