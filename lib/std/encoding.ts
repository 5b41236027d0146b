/**
 * The part of `@std/encoding` that this program uses, with the same names. It uses the runtime's own functions where these exist, and also works
 * without them (Node 20, older browsers).
 *
 * `@std/*` lives on JSR, which not every build machine reaches; `deno.jsr.json` maps the same specifiers to it.
 *
 * @module
 */

/** Functions of newer runtimes. The TypeScript types of Deno 2.6 do not declare them yet. */
interface BuiltIn {
  readonly toHex?: () => string;
  readonly toBase64?: () => string;
}
const builtIn = Uint8Array as unknown as {
  readonly fromHex?: (text: string) => Uint8Array<ArrayBuffer>;
  readonly fromBase64?: (text: string) => Uint8Array<ArrayBuffer>;
};

/** Lower-case hex. */
export function encodeHex(bytes: Uint8Array): string {
  return (bytes as BuiltIn).toHex?.() ??
    Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Decodes hex of either case. @throws {TypeError} on anything else. */
export function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  try {
    if (builtIn.fromHex !== undefined) return builtIn.fromHex(text);
  } catch {
    // Refused below.
  }
  if (text.length % 2 === 1 || !/^[0-9a-f]*$/i.test(text)) throw new TypeError("Cannot decode input as hex");
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}

/** Standard base64 (RFC 4648, section 4), with padding. */
export function encodeBase64(bytes: Uint8Array): string {
  const text = (bytes as BuiltIn).toBase64?.();
  if (text !== undefined) return text;
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Decodes standard base64. The padding may be missing; white space is refused. @throws {TypeError} */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replace(/={1,2}$/, "");
  try {
    // Both functions would skip white space.
    if (!/[\t\n\f\r ]/.test(text)) {
      return builtIn.fromBase64?.(digits) ?? Uint8Array.from(atob(digits), (digit) => digit.charCodeAt(0));
    }
  } catch {
    // Refused below.
  }
  throw new TypeError("Cannot decode input as base64");
}
