/**
 * The workflow of the benchmark. The first byte of the data says what it does: 0 returns the data, 1 computes for 2 ms first, 2 never ends.
 *
 * @module
 */

/** Milliseconds. */
const COMPUTE_MS = 2;

export function workflow(plaintext: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const [what] = plaintext;
  const until = what === 1 ? performance.now() + COMPUTE_MS : what === 2 ? Infinity : 0;
  while (performance.now() < until);
  return plaintext;
}
