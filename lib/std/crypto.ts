/**
 * The part of `@std/crypto` that this program uses, with the same name.
 *
 * @module
 */
import { timingSafeEqual as equalBytes } from "node:crypto";

/**
 * Whether two byte strings of one length are equal, in time that depends only on the length.
 *
 * @throws {TypeError} on different lengths: compare these first.
 */
export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length === b.length) return equalBytes(a, b);
  throw new TypeError(`Cannot compare buffers of different byte lengths (${a.length} vs ${b.length})`);
}
