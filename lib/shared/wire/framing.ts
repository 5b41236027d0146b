/**
 * How JSON documents travel on a stream. One port speaks three framings, and a reply uses that of its
 * request:
 *
 * - `u64le`: u64 little-endian length, then JSON (the wallet's socket protocol helpers);
 * - `u32be`: u32 big-endian length, then JSON;
 * - `raw`: a JSON object alone, complete when its brackets balance; newline, other white space or NUL may
 *   follow. What is not one ends the stream. Otherwise the body of an HTTP request, for example, would be
 *   read as further documents.
 *
 * JSON never contains a NUL, so the first eight bytes of a connection decide (see {@link detectFraming}),
 * once.
 *
 * @module
 */

import { encodeHex } from "@std/encoding";
import { MAX_DEPTH } from "./json_shape.ts";

/** How documents are delimited. */
export type Framing = "u64le" | "u32be" | "raw";

/** Why a document could not be decoded. */
export type FrameProblem = "too_large" | "not_json" | "no_memory";

/** A document's bytes (borrowed until the decoder is used again), or its problem. */
export type Frame =
  | { readonly body: Uint8Array<ArrayBuffer> }
  | { readonly problem: FrameProblem; readonly details: string; readonly recoverable: boolean };

/** The default size limit of a document: 10 MiB. */
export const DEFAULT_MAX_LENGTH = 10 * 1024 * 1024;
const HEADER_LENGTH = { u64le: 8, u32be: 4, raw: 0 } as const;
const INITIAL_CAPACITY = 16 * 1024;
/** Once this much of a framed document has arrived, its header's length is allocated: a client that sends less uses at most twice this much memory. */
const TRUSTED_LENGTH = 64 * 1024;
const NO_MEMORY = "Other arriving messages use all available memory: try again later";
const NOT_JSON_DEPTH = `JSON is nested deeper than ${MAX_DEPTH}`;
const NOT_AN_OBJECT = "A message without a length before it must be a JSON object, which begins with {";

/** How clients of other protocols begin, one character a byte; five are enough. */
const OTHER_PROTOCOLS: readonly (readonly [string, readonly string[]])[] = [
  ["HTTP", ["GET ", "HEAD ", "POST ", "PUT ", "PATCH", "DELET", "OPTIO", "TRACE", "CONNE", "PRI "]],
  ["TLS", ["\x16\x03"]],
  ["SSH", ["SSH-"]],
];

const NUL = 0x00;
const JSON_SPACES: readonly number[] = [0x20, 0x09, 0x0a, 0x0d];
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Whether JSON may begin with these bytes. From 0x20 on the first one is no length's below 512 MiB; a control character begins JSON only as white
 * space, with no other control characters about it.
 */
function mayBeJson(bytes: Uint8Array): boolean {
  return (bytes[0] ?? NUL) >= 0x20 || bytes.every((byte) => byte >= 0x20 || JSON_SPACES.includes(byte));
}

/** The other protocol that begins with these bytes. */
function otherProtocol(bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, 5));
  return OTHER_PROTOCOLS.find(([, beginnings]) => beginnings.some((beginning) => text.startsWith(beginning)))
    ?.[0];
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d) || byte === NUL;
}

/** Where the string ends that `from` is in; undefined when it has not ended yet. */
function closingQuote(bytes: Uint8Array, from: number): number | undefined {
  for (let quote = bytes.indexOf(QUOTE, from); quote !== -1; quote = bytes.indexOf(QUOTE, quote + 1)) {
    let before = quote - 1;
    while (bytes[before] === BACKSLASH) before--;
    if ((quote - before) % 2 === 1) return quote;
  }
  return undefined;
}

/**
 * Detects the framing from the first bytes of a connection. Bytes 4 to 7 all NUL: `u64le`; else, if neither
 * JSON nor another protocol begins with the first four: `u32be`; else `raw`. Decides as soon as it can: a
 * fifth byte that is not NUL rules `u64le` out.
 *
 * @returns undefined while more bytes are needed.
 */
export function detectFraming(bytes: Uint8Array): Framing | undefined {
  for (let index = 4; index < 8; index++) {
    const byte = bytes[index];
    if (byte === undefined) return undefined;
    if (byte === NUL) continue;
    const first = bytes.subarray(0, 4);
    return mayBeJson(first) || otherProtocol(first) !== undefined ? "raw" : "u32be";
  }
  return "u64le";
}

const encoder = new TextEncoder();

/** A JSON value as the bytes of one message, header and body together so that they leave in one write. */
export function encodeMessage(framing: Framing, value: unknown): Uint8Array<ArrayBuffer> {
  return new MessageEncoder().encode(framing, [JSON.stringify(value) ?? "null"]).slice();
}

/** A piece of JSON text; bytes are encoded as hex. */
export type JsonPiece = string | Uint8Array;

const HEX_CHUNK = 16 * 1024;

/**
 * Frees a buffer at once. Without this it would stay as long as anything refers to it, such as the suspended
 * loop of an idle connection.
 */
function free({ buffer }: Uint8Array<ArrayBuffer>): void {
  // Node 20 does not have it, and leaves this to its garbage collector.
  buffer.transfer?.(0);
}

/** Encodes messages into reused memory, since allocating it costs more than encoding a large message (measured). */
export class MessageEncoder {
  #buffer = new Uint8Array(INITIAL_CAPACITY);

  /** Releases memory above this many bytes. The result of {@link encode} must no longer be in use. */
  trim(keep: number): void {
    if (this.#buffer.length > Math.max(keep, INITIAL_CAPACITY)) this.#allocate(INITIAL_CAPACITY);
  }

  #allocate(length: number): void {
    free(this.#buffer);
    this.#buffer = new Uint8Array(length);
  }

  /**
   * JSON text, in pieces, as the bytes of one message.
   *
   * @returns borrowed until the next call
   */
  encode(framing: Framing, json: readonly JsonPiece[]): Uint8Array<ArrayBuffer> {
    const pieces = framing === "raw" ? [...json, "\n"] : json;
    const length = pieces.reduce(
      (sum, piece) => sum + (typeof piece === "string" ? piece.length : 2 * piece.length),
      0,
    );
    // Non-ASCII text needs up to three bytes per character.
    return this.#tryEncode(framing, pieces, length) ?? this.#tryEncode(framing, pieces, 3 * length) ??
      new Uint8Array(0);
  }

  #tryEncode(
    framing: Framing,
    pieces: readonly JsonPiece[],
    length: number,
  ): Uint8Array<ArrayBuffer> | undefined {
    const header = HEADER_LENGTH[framing];
    const isWasteful = this.#buffer.length > INITIAL_CAPACITY && header + length < this.#buffer.length / 4;
    if (isWasteful) this.#allocate(INITIAL_CAPACITY);
    if (this.#buffer.length < header + length) this.#allocate(header + length);
    let end = header;
    for (const piece of pieces) {
      for (const text of typeof piece === "string" ? [piece] : hexChunks(piece)) {
        const { read, written } = encoder.encodeInto(text, this.#buffer.subarray(end));
        if (read !== text.length) return undefined;
        end += written;
      }
    }
    writeLength(framing, this.#buffer, end - header);
    return this.#buffer.subarray(0, end);
  }
}

/** Hex of bytes, in strings that are short enough for the garbage collector's nursery. */
function* hexChunks(bytes: Uint8Array): Generator<string> {
  for (let at = 0; at < bytes.length; at += HEX_CHUNK) yield encodeHex(bytes.subarray(at, at + HEX_CHUNK));
}

function writeLength(framing: Framing, message: Uint8Array<ArrayBuffer>, length: number): void {
  const view = new DataView(message.buffer);
  if (framing === "u64le") view.setBigUint64(0, BigInt(length), true);
  if (framing === "u32be") view.setUint32(0, length);
}

/**
 * Takes bytes in any pieces and gives documents. Memory grows with what arrives, not with what a header promises, and never beyond the
 * limit; what was consumed is zeroed. Linear in the bytes, however small the pieces.
 *
 * Write into {@link space}, say how much with {@link commit}, take documents with {@link next} until it gives undefined.
 */
export class FrameDecoder implements Disposable {
  readonly #maxLength: number;
  readonly #mayHold: (bytes: number) => boolean;
  #framing: Framing | undefined;
  #buffer = new Uint8Array(INITIAL_CAPACITY);
  /** Unconsumed bytes are [start, end). */
  #start = 0;
  #end = 0;
  /** Bytes of the framed document that is arriving, header included; 0 when that is not known. */
  #declared = 0;
  /** Remaining bytes of an oversized framed document to discard. */
  #toDiscard = 0;
  #ended = false;
  #lost = false;
  /** There was no memory for the arriving document, which is still to be reported. */
  #refused = false;
  // The raw scanner: everything before `scanned` has been scanned.
  #scanned = 0;
  #depth = 0;
  #inString = false;

  /**
   * Starts empty, with the framing not yet known.
   *
   * @param maxLength the largest document, bytes
   * @param mayHold told how much memory is held, in bytes, before it grows and after it shrinks; false refuses to let it grow: the document
   * that is arriving is thrown away, and {@link next} gives `no_memory`
   */
  constructor(maxLength: number = DEFAULT_MAX_LENGTH, mayHold: (bytes: number) => boolean = () => true) {
    this.#maxLength = maxLength;
    this.#mayHold = mayHold;
  }

  /** The framing; undefined until it is known. */
  get framing(): Framing | undefined {
    return this.#framing;
  }

  /** Whether a part of a document has arrived. */
  get pending(): boolean {
    return this.#end > this.#start || this.#toDiscard > 0;
  }

  /** Bytes of memory held. */
  get capacity(): number {
    return this.#buffer.length;
  }

  /**
   * Whether what has arrived may be a whole document that is too short to say the framing (`{}`). A reader
   * waits for a moment, then calls {@link end}.
   */
  get ambiguous(): boolean {
    if (!this.pending || this.#framing !== undefined) return false;
    const bytes = this.#buffer.subarray(this.#start, this.#end);
    return mayBeJson(bytes) && !bytes.includes(NUL);
  }

  /** Room to write into, at least one byte. */
  space(): Uint8Array<ArrayBuffer> {
    if (this.#end === this.#buffer.length) this.#makeRoom();
    return this.#buffer.subarray(this.#end);
  }

  /** How large the buffer becomes when it is full: twice as large, or what a framed document needs once a good part of it is there. */
  #nextCapacity(pending: number, limit: number): number {
    const doubled = this.#buffer.length * 2;
    const wanted = pending >= TRUSTED_LENGTH ? Math.max(this.#declared, doubled) : doubled;
    // At the limit a document can be taken; a caller that does not take it still gets room.
    return pending >= limit ? doubled : Math.min(wanted, Math.max(limit, INITIAL_CAPACITY));
  }

  #makeRoom(): void {
    const pending = this.#end - this.#start;
    // A header on top of the largest document must fit, and one byte more, by which a raw document shows that it is too large.
    const limit = this.#maxLength + HEADER_LENGTH.u64le + 1;
    const capacity = pending * 2 > this.#buffer.length
      ? this.#nextCapacity(pending, limit)
      : this.#buffer.length;
    if (capacity > this.#buffer.length && !this.#mayHold(capacity)) {
      this.#refused = this.#lost = true;
      this.#consume(pending);
      return;
    }
    const old = this.#buffer;
    this.#buffer = capacity > old.length ? new Uint8Array(capacity) : old;
    this.#buffer.set(old.subarray(this.#start, this.#end));
    if (this.#buffer === old) old.fill(0, pending, this.#end);
    else {
      old.fill(0);
      free(old);
    }
    this.#scanned -= this.#start;
    this.#start = 0;
    this.#end = pending;
  }

  /** Says that so many bytes were written into {@link space}. */
  commit(length: number): void {
    this.#end += length;
    this.#ended = false;
  }

  /** Says that no more bytes come, or none before an answer: what is there is all of the document. */
  end(): void {
    this.#ended = true;
    if (this.#framing === undefined && this.pending) {
      this.#framing = this.#buffer[this.#start] === NUL ? "u32be" : "raw";
    }
  }

  /** Adds bytes that the caller already has. */
  push(bytes: Uint8Array): void {
    for (let taken = 0; taken < bytes.length;) {
      const space = this.space();
      const piece = bytes.subarray(taken, taken + space.length);
      space.set(piece);
      this.commit(piece.length);
      taken += piece.length;
    }
  }

  /** The next document, or undefined when more bytes are needed (or the stream can no longer be decoded). */
  next(): Frame | undefined {
    if (this.#refused) {
      this.#refused = false;
      return { problem: "no_memory", details: NO_MEMORY, recoverable: false };
    }
    if (this.#lost) {
      this.#consume(this.#end - this.#start);
      return undefined;
    }
    if (this.#framing === undefined) {
      this.#framing = detectFraming(this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + 8)));
      if (this.#framing === undefined) return undefined;
      this.#scanned = this.#start;
    }
    return this.#framing === "raw" ? this.#nextRaw() : this.#nextFramed(this.#framing);
  }

  /** Drops a document that {@link next} returned, and zeroes its bytes. */
  #consume(length: number): void {
    this.#buffer.fill(0, this.#start, this.#start + length);
    this.#start += length;
    if (this.#start === this.#end) {
      this.#start = this.#end = 0;
      // A client that sends large documents usually sends more of them, and allocating large buffers is slow; otherwise the memory is released.
      const isLarge = this.#buffer.length > INITIAL_CAPACITY;
      if (isLarge && length < this.#buffer.length / 4) this.#shrink();
    }
    this.#scanned = this.#start;
  }

  #shrink(): void {
    free(this.#buffer);
    this.#buffer = new Uint8Array(INITIAL_CAPACITY);
    this.#mayHold(INITIAL_CAPACITY);
  }

  /** Releases memory above this many bytes, if the buffer is empty. */
  trim(keep: number): void {
    if (this.#end === this.#start && this.#buffer.length > Math.max(keep, INITIAL_CAPACITY)) this.#shrink();
  }

  #given: number | undefined;

  /** Zeroes the last document and frees its room. Call it when the body is no longer needed. */
  release(): void {
    if (this.#given === undefined) return;
    const length = this.#given;
    this.#given = undefined;
    this.#consume(length);
  }

  /** Zeroes and frees all that has arrived. The decoder must not be used after it. */
  [Symbol.dispose](): void {
    this.#given = undefined;
    this.#consume(this.#end - this.#start);
    this.trim(0);
  }

  #give(from: number, length: number): Frame {
    this.#given = from - this.#start + length;
    return { body: this.#buffer.subarray(from, from + length) };
  }

  #nextFramed(framing: "u64le" | "u32be"): Frame | undefined {
    this.release();
    if (this.#toDiscard > 0) {
      const thrown = Math.min(this.#toDiscard, this.#end - this.#start);
      this.#toDiscard -= thrown;
      this.#consume(thrown);
      if (this.#toDiscard > 0) return undefined;
    }
    const header = HEADER_LENGTH[framing];
    if (this.#end - this.#start < header) return undefined;
    const view = new DataView(this.#buffer.buffer, this.#start, header);
    const declared = framing === "u64le" ? Number(view.getBigUint64(0, true)) : view.getUint32(0);
    if (declared > this.#maxLength) {
      this.#consume(header);
      // Above the safe integers, the end of the document cannot be found.
      this.#lost = !Number.isSafeInteger(declared);
      this.#toDiscard = this.#lost ? 0 : declared;
      return this.#tooLarge(`${declared} bytes`, !this.#lost);
    }
    this.#declared = header + declared;
    if (this.#end - this.#start < this.#declared) return undefined;
    return this.#give(this.#start + header, declared);
  }

  #tooLarge(what: string, recoverable: boolean): Frame {
    return {
      problem: "too_large",
      details: `The message has ${what}; at most ${this.#maxLength} are taken`,
      recoverable,
    };
  }

  #nextRaw(): Frame | undefined {
    this.release();
    if (this.#depth === 0) {
      while (this.#start < this.#end && isSpace(this.#buffer[this.#start] ?? NUL)) this.#start++;
      if (this.#start === this.#end) {
        this.#consume(0);
        return undefined;
      }
      if (this.#buffer[this.#start] !== OPEN_BRACE) return this.#lose(this.#notAnObject());
      this.#scanned = Math.max(this.#scanned, this.#start);
    }
    const end = this.#scanObject();
    if (end === "too_deep") {
      return this.#lose({ problem: "not_json", details: NOT_JSON_DEPTH, recoverable: false });
    }
    const length = (end ?? this.#end) - this.#start;
    if (length > this.#maxLength) {
      return this.#lose(this.#tooLarge(`more than ${this.#maxLength} bytes`, false));
    }
    if (end !== undefined) return this.#give(this.#start, length);
    if (!this.#ended) return undefined;
    return this.#lose({ problem: "not_json", details: "The JSON document is cut off", recoverable: false });
  }

  /** After an error, a raw stream cannot find the start of the next document. */
  #lose(frame: Frame): Frame {
    this.#lost = true;
    this.#consume(this.#end - this.#start);
    return frame;
  }

  #notAnObject(): Frame {
    const protocol = otherProtocol(this.#buffer.subarray(this.#start, this.#end));
    const named = protocol === undefined ? "" : `This port does not speak ${protocol}. `;
    return { problem: "not_json", details: `${named}${NOT_AN_OBJECT}`, recoverable: false };
  }

  /** Where the object ends, if it does. */
  #scanObject(): number | "too_deep" | undefined {
    const bytes = this.#buffer.subarray(0, this.#end);
    let at = this.#scanned;
    while (at < bytes.length) {
      if (this.#inString) {
        const quote = closingQuote(bytes, at);
        if (quote === undefined) break;
        this.#inString = false;
        at = quote + 1;
        continue;
      }
      const byte = bytes[at++];
      if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (++this.#depth > MAX_DEPTH) return "too_deep";
      } else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --this.#depth === 0) return at;
    }
    this.#scanned = bytes.length;
    return undefined;
  }
}
