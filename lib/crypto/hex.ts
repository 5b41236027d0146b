/**
 * Hex into memory that is there already, which `@std/encoding` has no function for.
 *
 * @module
 */

/**
 * Decodes hex, either case.
 *
 * @param target at least half as long as the text
 * @returns the part of the target that was written
 * @throws {SyntaxError} on an odd length or a character that is not hex.
 */
export function decodeHexInto(text: string, target: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  // The types of Deno 2.6's TypeScript do not know this function of the runtime yet.
  const { written } = (target as unknown as { setFromHex(hex: string): { written: number } }).setFromHex(
    text,
  );
  return target.subarray(0, written);
}
