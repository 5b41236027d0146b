/**
 * Reports tests that cannot run on this machine, so that they are not overlooked: `deno task test` lists
 * them, and CI fails.
 *
 * @module
 */

/**
 * Registers a test that is ignored in the place of those that are missing. @param what they are, and what
 * they lack
 */
export function skipTests(what: string): void {
  Deno.test.ignore(what, () => {});
}
