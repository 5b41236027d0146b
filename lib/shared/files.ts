/**
 * Reading files that need not exist, and files that hold keys.
 *
 * @module
 */

/** The largest file of {@link readSecretText}. */
const MAX_TEXT = 1_048_576;

/** The text of a file; undefined when it does not exist. Other errors are thrown as they are. */
export async function readIfThere(
  path: string,
  read: (path: string) => Promise<string> = Deno.readTextFile,
): Promise<string | undefined> {
  try {
    return await read(path);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return undefined;
    throw thrown;
  }
}

/**
 * Reads a file that holds a key. No other user may have any right to it.
 *
 * @param max bytes
 * @returns the bytes, which the caller wipes
 * @throws {TypeError} when others may use the file; {RangeError} when it is too long; the system's errors as
 * they are
 */
export async function readSecretFile(path: string, max: number): Promise<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(path);
  // The mode is that of the open file: another file cannot take its place after the check.
  const { mode } = await file.stat();
  if (mode !== null && (mode & 0o077) !== 0) {
    throw new TypeError(`other users may use it (mode ${(mode & 0o777).toString(8)}): chmod 600 ${path}`);
  }
  const bytes = new Uint8Array(max + 1);
  let length = 0;
  for (let count: number | null = 0; count !== null && length < bytes.length; length += count ?? 0) {
    count = await file.read(bytes.subarray(length));
  }
  const content = bytes.slice(0, length);
  bytes.fill(0);
  if (length <= max) return content;
  content.fill(0);
  throw new RangeError(`it has more than ${max} bytes`);
}

/** As {@link readSecretFile}, but as text, which cannot be wiped: for the keys of development. */
export async function readSecretText(path: string): Promise<string> {
  return new TextDecoder().decode(await readSecretFile(path, MAX_TEXT));
}

/** Whether there is a file. */
export async function isFile(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isFile, () => false);
}
