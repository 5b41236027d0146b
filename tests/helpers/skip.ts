/**
 * Tests that cannot run on this machine, said so that nobody overlooks it: `deno task test` lists them, and CI fails.
 *
 * @module
 */

/** Registers a test that is ignored in the place of those that are missing. @param what they are, and what they lack */
export function skipTests(what: string): void {
  Deno.test.ignore(what, () => {});
}
