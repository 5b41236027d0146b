/**
 * The part of `@std/crypto` that this program uses: same name, same contract (tests/unit/std/crypto_test.ts).
 *
 * @module
 */
import { timingSafeEqual as equalBytes } from "node:crypto";

/**
 * Whether two byte strings of one length are equal, in time that depends only on the length.
 *
 * @throws {TypeError} on different lengths: compare these first.
 */
export function timingSafeEqual(
  a: ArrayBufferView | ArrayBuffer,
  b: ArrayBufferView | ArrayBuffer,
): boolean {
  if (a.byteLength !== b.byteLength) {
    throw new TypeError(
      `Cannot compare buffers of different byte lengths (${a.byteLength} vs ${b.byteLength})`,
    );
  }
  return equalBytes(view(a), view(b));
}

function view(data: ArrayBufferView | ArrayBuffer): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
