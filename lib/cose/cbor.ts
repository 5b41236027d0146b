/**
 * CBOR as attestation needs it: definite lengths, shortest heads, no key twice, no floats, nothing after the end, and no deeper than it has to be.
 * The order of keys is left alone, since the NSM's own is not the sorted one. RFC 8949, section 4.2.
 *
 * Runs in browsers.
 *
 * @module
 */
import { decode, type Token, Tokenizer, Type } from "cborg";

/** What a text of CBOR is held to. */
export interface CborLimits {
  /** Bytes of the whole. */
  readonly maxBytes: number;
  /** Arrays and maps within one another. */
  readonly maxDepth: number;
}

/** The part of cborg's options that says what is taken. */
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

/** The library's own decoder replaces what is no UTF-8, and drops a byte order mark: two texts would become one. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** cborg's tokens, with what it has no option for: depth, floats, keys that are neither text nor numbers, texts that are no UTF-8. */
class LimitedTokenizer {
  #tokens: Tokenizer;
  #maxDepth: number;
  /** For each array and map around: the items that are still to come, and whether it is a map. */
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
    // The items of a map are keys and values in turn, so that an even number is left before a key.
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
 * Decodes one item, whole.
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

/** A byte string of a length between the two, or undefined. Its memory is its own. */
export function asBytes(value: unknown, min: number, max: number): Uint8Array<ArrayBuffer> | undefined {
  if (!(value instanceof Uint8Array) || value.length < min || value.length > max) return undefined;
  return new Uint8Array(value);
}
