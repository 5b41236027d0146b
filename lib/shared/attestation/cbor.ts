/**
 * CBOR of signed data and of the NSM. AWS chooses the encoding and has changed it, so every well-formed
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

class CborReader {
  #bytes: Uint8Array;
  #maxDepth: number;
  #at = 0;

  constructor(bytes: Uint8Array, maxDepth: number) {
    this.#bytes = bytes;
    this.#maxDepth = maxDepth;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** Reads one item. @param depth its depth, if it is an array or a map @param tag may precede it */
  item(depth: number, tag?: number): unknown {
    const [head = 0] = this.#take(1);
    const low = head & 31;
    switch (head >> 5) {
      case MAJOR.uint:
        return narrow(this.#argument(low));
      case MAJOR.negint:
        return narrow(-1n - this.#argument(low));
      case MAJOR.bytes:
        return this.#take(Number(this.#argument(low)));
      case MAJOR.text:
        return textOf(this.#take(Number(this.#argument(low))));
      case MAJOR.array:
        return this.#array(depth, this.#count(low, depth));
      case MAJOR.map:
        return this.#map(depth, this.#count(low, depth));
      case MAJOR.tag:
        if (tag !== undefined && this.#argument(low) === BigInt(tag)) return this.item(depth);
        throw new SyntaxError("a tag is not allowed here");
      default:
        if (SIMPLE.has(low)) return SIMPLE.get(low);
        throw new SyntaxError("a float, a simple value or a break is not allowed here");
    }
  }

  #array(depth: number, count: number | undefined): readonly unknown[] {
    const items: unknown[] = [];
    while (this.#continues(items.length, count)) items.push(this.item(depth + 1));
    return items;
  }

  #map(depth: number, count: number | undefined): ReadonlyMap<unknown, unknown> {
    const pairs = new Map<unknown, unknown>();
    while (this.#continues(pairs.size, count)) {
      const key = this.item(depth + 1);
      if (!["string", "number", "bigint"].includes(typeof key)) {
        throw new SyntaxError("a key is neither a text nor an integer");
      }
      if (pairs.has(key)) throw new SyntaxError("a key is repeated");
      pairs.set(key, this.item(depth + 1));
    }
    return pairs;
  }

  /** Whether an array or a map continues. Passes the break at the end of an indefinite length. */
  #continues(read: number, count: number | undefined): boolean {
    if (count !== undefined) return read < count;
    if (this.#bytes[this.#at] !== BREAK) return true;
    this.#at++;
    return false;
  }

  /** The number of items or pairs; undefined for an indefinite length. */
  #count(low: number, depth: number): number | undefined {
    if (depth > this.#maxDepth) throw new SyntaxError(`deeper than ${this.#maxDepth}`);
    return low === INDEFINITE ? undefined : Number(this.#argument(low));
  }

  /** The number in or after a head. */
  #argument(low: number): bigint {
    if (low < 24) return BigInt(low);
    if (low > 27) throw new SyntaxError("an indefinite length or a reserved head is not allowed here");
    return this.#take(1 << (low - 24)).reduce((value, byte) => value << 8n | BigInt(byte), 0n);
  }

  #take(length: number): Uint8Array {
    if (length > this.left) throw new SyntaxError("it is cut off");
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }
}

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
  const reader = new CborReader(bytes, maxDepth);
  const item = reader.item(1, tag);
  if (reader.left > 0) throw new SyntaxError("bytes follow its end");
  return item;
}

/** A copy of a byte string with a length in the range, or undefined. */
export function asBytes(value: unknown, min: number, max: number): Uint8Array<ArrayBuffer> | undefined {
  if (!(value instanceof Uint8Array) || value.length < min || value.length > max) return undefined;
  return new Uint8Array(value);
}
