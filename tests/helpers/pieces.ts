/**
 * Splits bytes into pieces, to test readers of streams.
 *
 * @module
 */
import type { FrameDecoder } from "../../lib/shared/wire/framing.ts";
import fc from "fast-check";

/** Lengths of pieces. */
export const cuts: fc.Arbitrary<number[]> = fc.array(fc.integer({ min: 1, max: 40 }), {
  minLength: 1,
  maxLength: 50,
});

/** The bytes in pieces of the given lengths, taken in turns. */
export function* pieces(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

/** Adds bytes to a decoder. */
export function push(decoder: FrameDecoder, bytes: Uint8Array): void {
  for (let taken = 0; taken < bytes.length;) {
    const space = decoder.space();
    const piece = bytes.subarray(taken, taken + space.length);
    space.set(piece);
    decoder.commit(piece.length);
    taken += piece.length;
  }
}

/** Bytes of memory that a decoder holds; one that is full makes room first. */
export function capacityOf(decoder: FrameDecoder): number {
  return decoder.space().buffer.byteLength;
}
