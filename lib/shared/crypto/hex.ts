/**
 * Decodes hex into existing memory, which `@std/encoding` has no function for.
 *
 * @module
 */

/**
 * Decodes hex, either case.
 *
 * @param target at least half as long as the text
 * @returns the written part of the target
 * @throws {SyntaxError} on an odd length or a character that is not hex.
 */
export function decodeHexInto(text: string, target: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  // The TypeScript types of Deno 2.6 do not declare this function yet.
  const decoder = target as unknown as { setFromHex(hex: string): { written: number } };
  return target.subarray(0, decoder.setFromHex(text).written);
}
