/**
 * Reading files that need not exist.
 *
 * @module
 */

/** The text of a file; undefined when it does not exist. Other errors are thrown as they are. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return undefined;
    throw thrown;
  }
}
