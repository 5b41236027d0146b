/**
 * Writes to a standard stream, all of it.
 *
 * @module
 */

/**
 * Writes all bytes: a pipe may take only some of them at a time.
 *
 * @param write takes bytes, and returns how many of them it wrote, such as `Deno.stdout.writeSync`
 */
export function writeAll(write: (bytes: Uint8Array) => number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += write(bytes.subarray(written));
}
