/**
 * The part of `@std/encoding` that this program uses, over what the runtime has: same names, same contracts.
 *
 * `@std/*` lives on JSR, which not every build machine reaches; `deno.jsr.json` maps the same specifiers to it.
 *
 * @module
 */

/** Lower-case hex of the bytes. */
export function encodeHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/**
 * The bytes that a hex string (either case) stands for.
 *
 * @throws {SyntaxError} on an odd length or a character that is not hex.
 */
export function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(text);
}

/** Standard base64 (RFC 4648, section 4) with padding. */
export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/**
 * The bytes that standard base64 stands for; white space is ignored, as `atob` does.
 *
 * @throws {SyntaxError} on a character outside the alphabet or a wrong length.
 */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(text);
}
