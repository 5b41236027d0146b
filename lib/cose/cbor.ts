/**
 * The strict subset of CBOR that attestation needs: definite lengths, shortest heads, no duplicate keys, no floats, no trailing bytes, limited depth.
 * The order of keys is not checked, since the NSM does not sort them. RFC 8949, section 4.2.
 *
 * Runs in browsers.
 *
 * @module
 */
import { decode, type Token, Tokenizer, Type } from "cborg";

/** Limits of a CBOR item. */
export interface CborLimits {
  /** Bytes of the whole item. */
  readonly maxBytes: number;
  /** Nesting depth of arrays and maps. */
  readonly maxDepth: number;
}

/** cborg's options that restrict the accepted input. */
const STRICT = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  useMaps: true,
  rejectDuplicateMapKeys: true,
  retainStringBytes: true,
} as const;

/** The library's own decoder replaces invalid UTF-8 and drops a byte order mark, so that different texts would be equal. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** cborg's tokens, with the checks that it has no option for: depth, floats, keys that are neither text nor numbers, invalid UTF-8. */
class LimitedTokenizer {
  #tokens: Tokenizer;
  #maxDepth: number;
  /** For each enclosing array and map: the remaining items, and whether it is a map. */
  #open: { left: number; readonly isMap: boolean }[] = [];

  constructor(bytes: Uint8Array, maxDepth: number) {
    this.#tokens = new Tokenizer(bytes, STRICT);
    this.#maxDepth = maxDepth;
  }

  done(): boolean {
    return this.#tokens.done();
  }

  pos(): number {
    return this.#tokens.pos();
  }

  next(): Token {
    const token = this.#tokens.next();
    const { type } = token;
    if (type === Type.float || type === Type.break || type === Type.undefined || type === Type.tag) {
      throw new SyntaxError(`${type.name} is not allowed here`);
    }
    if (type === Type.string && UTF8.decode(token.byteValue ?? new Uint8Array(0)) !== token.value) {
      throw new SyntaxError("a text is not UTF-8 as it should be");
    }
    const around = this.#open.at(-1);
    // The items of a map alternate between keys and values, so an even number remains before a key.
    if (around?.isMap && around.left % 2 === 0 && !isKey(type)) {
      throw new SyntaxError(`a key may not be ${type.name}`);
    }
    if (around !== undefined) around.left--;
    if (type === Type.array || type === Type.map) {
      const isMap = type === Type.map;
      this.#open.push({ left: Number(token.value) * (isMap ? 2 : 1), isMap });
      if (this.#open.length > this.#maxDepth) throw new SyntaxError(`deeper than ${this.#maxDepth}`);
    }
    while (this.#open.at(-1)?.left === 0) this.#open.pop();
    return token;
  }
}

function isKey(type: Type): boolean {
  return type === Type.string || type === Type.uint || type === Type.negint;
}

/**
 * Decodes exactly one item.
 *
 * @returns maps as `Map`, byte strings as `Uint8Array`
 * @throws {SyntaxError} on anything else, with the reason.
 */
export function decodeStrict(bytes: Uint8Array, { maxBytes, maxDepth }: CborLimits): unknown {
  if (bytes.length > maxBytes) throw new SyntaxError(`${bytes.length} bytes, where ${maxBytes} are the most`);
  try {
    return decode(bytes, { ...STRICT, tokenizer: new LimitedTokenizer(bytes, maxDepth) });
  } catch (thrown) {
    if (thrown instanceof SyntaxError) throw thrown;
    const reason = thrown instanceof Error
      ? thrown.message.replace(/^CBOR decode error: /, "")
      : String(thrown);
    throw new SyntaxError(reason, { cause: thrown });
  }
}

/** A copy of a byte string with a length in the range, or undefined. */
export function asBytes(value: unknown, min: number, max: number): Uint8Array<ArrayBuffer> | undefined {
  if (!(value instanceof Uint8Array) || value.length < min || value.length > max) return undefined;
  return new Uint8Array(value);
}
