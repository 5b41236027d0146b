/**
 * The part of `@std/encoding` that this program uses, over what the runtime has: same names, same contracts.
 *
 * `@std/*` lives on JSR, which not every build machine reaches; `deno.jsr.json` maps the same specifiers to it.
 *
 * @module
 */

/** The runtime has these in every supported version; the types of Deno 2.6's TypeScript do not know them yet. */
interface Encoding {
  toHex(): string;
  toBase64(): string;
}
const decoding = Uint8Array as unknown as {
  fromHex(text: string): Uint8Array<ArrayBuffer>;
  fromBase64(text: string): Uint8Array<ArrayBuffer>;
};

/** Lower-case hex of the bytes. */
export function encodeHex(bytes: Uint8Array): string {
  return (bytes as unknown as Encoding).toHex();
}

/**
 * The bytes that a hex string (either case) stands for.
 *
 * @throws {SyntaxError} on an odd length or a character that is not hex.
 */
export function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  return decoding.fromHex(text);
}

/** Standard base64 (RFC 4648, section 4) with padding. */
export function encodeBase64(bytes: Uint8Array): string {
  return (bytes as unknown as Encoding).toBase64();
}

/**
 * The bytes that standard base64 stands for; white space is ignored, as `atob` does.
 *
 * @throws {SyntaxError} on a character outside the alphabet or a wrong length.
 */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  return decoding.fromBase64(text);
}
