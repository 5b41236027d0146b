/**
 * CBOR of signed data, for verifiers. AWS chooses the encoding and has changed it, so every well-formed
 * encoding of a value is read: heads of any width, arrays and maps of definite or indefinite length (RFC
 * 8949). What a value may be is limited: integers, byte strings, texts, arrays, maps, booleans and null; keys
 * are texts or integers and occur once; nothing follows the item; size and depth are bounded. Byte strings
 * and texts of indefinite length are refused: nothing that is read here has them.
 *
 * Runs in browsers.
 *
 * @module
 */

/** Limits of a CBOR item. */
interface CborLimits {
  /** Bytes of the whole item. */
  readonly maxBytes: number;
  /** Nesting depth of arrays and maps. */
  readonly maxDepth: number;
  /** A tag that may precede the item; no other tag is accepted. */
  readonly tag?: number;
}

/** Major types. RFC 8949, section 3.1. */
const MAJOR = { uint: 0, negint: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6 } as const;
/** The accepted values of major type 7, by the low five bits of the head. */
const SIMPLE: ReadonlyMap<number, unknown> = new Map([[20, false], [21, true], [22, null]]);
/** In the low five bits of a head: the length is indefinite. */
const INDEFINITE = 31;
/** Ends an array or a map of indefinite length. */
const BREAK = 0xff;

/** Replaces nothing and keeps a byte order mark, so that different bytes are different texts. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch (thrown) {
    throw new SyntaxError("a text is not UTF-8", { cause: thrown });
  }
}

/** A number where it is exact: one integer has one value, whatever the width of its head. */
function narrow(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/**
 * Decodes exactly one item.
 *
 * @returns maps as `Map`, byte strings as views of `bytes`, integers as `bigint` where a number would not be
 * exact
 * @throws {SyntaxError} on anything else, with the reason.
 */
export function decodeCbor(bytes: Uint8Array, { maxBytes, maxDepth, tag }: CborLimits): unknown {
  if (bytes.length > maxBytes) throw new SyntaxError(`${bytes.length} bytes, where ${maxBytes} are the most`);
  let at = 0;
  const take = (length: number) => {
    if (length > bytes.length - at) throw new SyntaxError("it is cut off");
    at += length;
    return bytes.subarray(at - length, at);
  };
  /** The number in or after a head. */
  const argument = (low: number): bigint => {
    if (low < 24) return BigInt(low);
    if (low > 27) throw new SyntaxError("an indefinite length or a reserved head is not allowed here");
    return take(1 << (low - 24)).reduce((value, byte) => value << 8n | BigInt(byte), 0n);
  };
  /** Reads the items or pairs of an array or a map, and the break at the end of an indefinite length. */
  const each = (low: number, depth: number, read: () => void) => {
    if (depth > maxDepth) throw new SyntaxError(`deeper than ${maxDepth}`);
    const count = low === INDEFINITE ? Infinity : Number(argument(low));
    for (let index = 0; index < count; index++) {
      if (count === Infinity && bytes[at] === BREAK) {
        at++;
        return;
      }
      read();
    }
  };
  const item = (depth: number, allowed?: number): unknown => {
    const [head = 0] = take(1);
    const low = head & 31;
    switch (head >> 5) {
      case MAJOR.uint:
        return narrow(argument(low));
      case MAJOR.negint:
        return narrow(-1n - argument(low));
      case MAJOR.bytes:
        return take(Number(argument(low)));
      case MAJOR.text:
        return textOf(take(Number(argument(low))));
      case MAJOR.array: {
        const items: unknown[] = [];
        each(low, depth, () => items.push(item(depth + 1)));
        return items;
      }
      case MAJOR.map: {
        const pairs = new Map<unknown, unknown>();
        each(low, depth, () => {
          const key = item(depth + 1);
          if (!["string", "number", "bigint"].includes(typeof key)) {
            throw new SyntaxError("a key is neither a text nor an integer");
          }
          if (pairs.has(key)) throw new SyntaxError("a key is repeated");
          pairs.set(key, item(depth + 1));
        });
        return pairs;
      }
      case MAJOR.tag:
        if (allowed !== undefined && argument(low) === BigInt(allowed)) return item(depth);
        throw new SyntaxError("a tag is not allowed here");
      default:
        if (SIMPLE.has(low)) return SIMPLE.get(low);
        throw new SyntaxError("a float, a simple value or a break is not allowed here");
    }
  };
  const value = item(1, tag);
  if (at < bytes.length) throw new SyntaxError("bytes follow its end");
  return value;
}
