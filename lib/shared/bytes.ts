/**
 * Joins, compares, checks and discards byte strings. Runs in browsers.
 *
 * @module
 */

/** Concatenates byte strings. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Whether two byte strings are equal. Not constant-time: not for secrets. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** A copy of a byte string with a length in the range, or undefined. */
export function asBytes(value: unknown, min: number, max: number): Uint8Array<ArrayBuffer> | undefined {
  if (!(value instanceof Uint8Array) || value.length < min || value.length > max) return undefined;
  return new Uint8Array(value);
}

/** Wipes the buffer of bytes and frees it at once, where the garbage collector would do so much later. */
export function discard({ buffer }: Uint8Array<ArrayBuffer>): void {
  if (buffer.byteLength === 0) return;
  new Uint8Array(buffer).fill(0);
  // Node 20 does not have it, and leaves this to its garbage collector.
  buffer.transfer?.(0);
}
