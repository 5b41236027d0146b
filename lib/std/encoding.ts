/**
 * The part of `@std/encoding` that this program uses: same names, same contracts (tests/unit/std/encoding_test.ts). It uses the runtime's own
 * functions where these exist, and also works without them (Node 20, older browsers).
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

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const valuesOf = (digits: readonly string[]) =>
  new Map(digits.flatMap((set) => [...set].map((digit, value) => [digit, value])));
const HEX_VALUES = valuesOf(["0123456789abcdef", "0123456789ABCDEF"]);
const BASE64_VALUES = valuesOf([BASE64]);

function bytesOf(data: ArrayBuffer | Uint8Array | string): Uint8Array {
  if (typeof data === "string") return new TextEncoder().encode(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

/** The bytes of digits that stand for so many bits each; incomplete bytes are dropped. */
function decodeDigits(
  text: string,
  format: "hex" | "base64",
  values: ReadonlyMap<string, number>,
): Uint8Array<ArrayBuffer> {
  const width = format === "hex" ? 4 : 6;
  const bytes = new Uint8Array(Math.floor(text.length * width / 8));
  let [at, held, bits] = [0, 0, 0];
  for (const digit of text) {
    const value = values.get(digit);
    if (value === undefined) {
      throw new TypeError(`Cannot decode input as ${format}: Invalid character (${digit})`);
    }
    held = (held << width | value) & 0xffff;
    bits += width;
    if (bits >= 8) bytes[at++] = held >> (bits -= 8);
  }
  return bytes;
}

/** Lower-case hex of the bytes, or of the text as UTF-8. */
export function encodeHex(data: ArrayBuffer | Uint8Array | string): string {
  const bytes = bytesOf(data);
  return (bytes as BuiltIn).toHex?.() ??
    Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Decodes a hex string (either case).
 *
 * @throws {RangeError} on an odd length.
 * @throws {TypeError} on a character that is not hex.
 */
export function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  try {
    if (builtIn.fromHex !== undefined) return builtIn.fromHex(text);
  } catch {
    // Refused below, with the contract's error classes.
  }
  const { length } = new TextEncoder().encode(text);
  if (length % 2 === 1) {
    throw new RangeError(`Cannot decode input as hex: Length (${length}) must be divisible by 2`);
  }
  return decodeDigits(text, "hex", HEX_VALUES);
}

/** Standard base64 (RFC 4648, section 4), with padding, of the bytes, or of the text as UTF-8. */
export function encodeBase64(data: ArrayBuffer | Uint8Array | string): string {
  const bytes = bytesOf(data);
  const text = (bytes as BuiltIn).toBase64?.();
  if (text !== undefined) return text;
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/**
 * Decodes standard base64. The padding may be missing; white space is refused.
 *
 * @throws {RangeError} on an impossible length.
 * @throws {TypeError} on a character outside the alphabet.
 */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  try {
    // The built-in function skips white space.
    if (builtIn.fromBase64 !== undefined && !/[\t\n\f\r ]/.test(text)) return builtIn.fromBase64(text);
  } catch {
    // Incomplete padding is accepted below; other input is refused with the contract's error classes.
  }
  const digits = text.replace(/={1,2}$/, "");
  const { length } = new TextEncoder().encode(digits);
  if (length % 4 === 1 && !/=[^=]$/.test(text)) {
    throw new RangeError(
      `Cannot decode input as base64: Length (${length}), excluding padding, must not have a remainder of 1 when divided by 4`,
    );
  }
  return decodeDigits(digits, "base64", BASE64_VALUES);
}
