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
import { discard } from "../bytes.ts";
import { closingQuote, CODE, MAX_DEPTH } from "./json_shape.ts";

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
const NOT_AN_OBJECT = "A message without a length before it must be a JSON object, which begins with {";

/** How clients of other protocols begin, one character a byte; five are enough. */
const OTHER_PROTOCOLS: readonly (readonly [string, readonly string[]])[] = [
  ["HTTP", ["GET ", "HEAD ", "POST ", "PUT ", "PATCH", "DELET", "OPTIO", "TRACE", "CONNE", "PRI "]],
  ["TLS", ["\x16\x03"]],
  ["SSH", ["SSH-"]],
];

const NUL = 0x00;
const JSON_SPACES: readonly number[] = [0x20, 0x09, 0x0a, 0x0d];

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

/**
 * Detects the framing from the first bytes of a connection. Bytes 4 to 7 all NUL: `u64le`; else, if neither
 * JSON nor another protocol begins with the first four: `u32be`; else `raw`. Decides as soon as it can: a
 * fifth byte that is not NUL rules `u64le` out.
 *
 * @returns undefined while more bytes are needed.
 */
export function detectFraming(bytes: Uint8Array): Framing | undefined {
  const rest = bytes.subarray(4, 8);
  if (rest.every((byte) => byte === NUL)) return rest.length === 4 ? "u64le" : undefined;
  const first = bytes.subarray(0, 4);
  return mayBeJson(first) || otherProtocol(first) !== undefined ? "raw" : "u32be";
}

const encoder = new TextEncoder();

/** A JSON value as the bytes of one message, header and body together so that they leave in one write. */
export function encodeMessage(framing: Framing, value: unknown): Uint8Array<ArrayBuffer> {
  return new MessageEncoder().encode(framing, [JSON.stringify(value) ?? "null"]).slice();
}

/** A piece of JSON text; bytes are encoded as hex. */
export type JsonPiece = string | Uint8Array<ArrayBuffer>;

/** Bytes whose hex is a string that is short enough for the garbage collector's nursery. */
const HEX_CHUNK = 16 * 1024;

/** Encodes messages into reused memory, since allocating it costs more than encoding a large message (measured). */
export class MessageEncoder {
  #buffer = new Uint8Array(INITIAL_CAPACITY);

  /** Releases memory above this many bytes. The result of {@link encode} must no longer be in use. */
  trim(keep: number): void {
    if (this.#buffer.length > Math.max(keep, INITIAL_CAPACITY)) this.#allocate(INITIAL_CAPACITY);
  }

  #allocate(length: number): void {
    discard(this.#buffer);
    this.#buffer = new Uint8Array(Math.max(length, INITIAL_CAPACITY));
  }

  /**
   * JSON text, in pieces, as the bytes of one message.
   *
   * @returns borrowed until the next call
   */
  encode(framing: Framing, json: readonly JsonPiece[]): Uint8Array<ArrayBuffer> {
    const pieces = framing === "raw" ? [...json, "\n"] : json;
    const size = (piece: JsonPiece) => typeof piece === "string" ? piece.length : 2 * piece.length;
    return this.#encode(framing, pieces, pieces.reduce((sum, piece) => sum + size(piece), 0));
  }

  #encode(framing: Framing, pieces: readonly JsonPiece[], length: number): Uint8Array<ArrayBuffer> {
    const header = HEADER_LENGTH[framing];
    const held = this.#buffer.length;
    const isWasteful = held > INITIAL_CAPACITY && header + length < held / 4;
    if (isWasteful || held < header + length) this.#allocate(header + length);
    let end = header;
    for (const piece of pieces) {
      const step = typeof piece === "string" ? piece.length : HEX_CHUNK;
      for (let at = 0; at < piece.length; at += step) {
        const text = typeof piece === "string" ? piece : encodeHex(piece.subarray(at, at + step));
        const { read, written } = encoder.encodeInto(text, this.#buffer.subarray(end));
        // Non-ASCII text needs up to three bytes per character.
        if (read !== text.length) return this.#encode(framing, pieces, 3 * length);
        end += written;
      }
    }
    const view = new DataView(this.#buffer.buffer);
    if (framing === "u64le") view.setBigUint64(0, BigInt(end - header), true);
    if (framing === "u32be") view.setUint32(0, end - header);
    return this.#buffer.subarray(0, end);
  }
}

/** A document that could not be decoded. */
function refusal(problem: FrameProblem, details: string, recoverable = false): Frame {
  return { problem, details, recoverable };
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
  /** Bytes of the document that was returned last, header included; 0 once it is released. */
  #given = 0;
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

  get #arrived(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /**
   * Whether what has arrived may be a whole document that is too short to say the framing (`{}`). A reader
   * waits for a moment, then calls {@link end}.
   */
  get ambiguous(): boolean {
    if (this.#framing !== undefined) return false;
    const arrived = this.#arrived;
    return arrived.length > 0 && mayBeJson(arrived) && !arrived.includes(NUL);
  }

  /** Room to write into, at least one byte. */
  space(): Uint8Array<ArrayBuffer> {
    if (this.#end === this.#buffer.length) this.#makeRoom();
    return this.#buffer.subarray(this.#end);
  }

  /** How large the buffer becomes when it is full: twice as large, or what a framed document needs once a good part of it is there. */
  #nextCapacity(pending: number): number {
    const doubled = this.#buffer.length * 2;
    if (pending * 2 <= this.#buffer.length) return this.#buffer.length;
    // A header on top of the largest document must fit, and the byte by which a raw one is too large.
    const limit = this.#maxLength + HEADER_LENGTH.u64le + 1;
    const wanted = pending >= TRUSTED_LENGTH ? Math.max(this.#declared, doubled) : doubled;
    // At the limit a document can be taken; a caller that does not take it still gets room.
    return pending >= limit ? doubled : Math.min(wanted, Math.max(limit, INITIAL_CAPACITY));
  }

  #makeRoom(): void {
    const old = this.#buffer;
    const arrived = this.#arrived;
    const capacity = this.#nextCapacity(arrived.length);
    if (capacity > old.length && !this.#mayHold(capacity)) {
      this.#refused = true;
      this.#lose();
      return;
    }
    if (capacity > old.length) this.#buffer = new Uint8Array(capacity);
    this.#buffer.set(arrived);
    if (this.#buffer === old) old.fill(0, arrived.length, this.#end);
    else discard(old);
    this.#scanned -= this.#start;
    this.#end -= this.#start;
    this.#start = 0;
  }

  /** Says that so many bytes were written into {@link space}. */
  commit(length: number): void {
    this.#end += length;
    this.#ended = false;
  }

  /** Says that no more bytes come, or none before an answer: what is there is all of the document. */
  end(): void {
    this.#ended = true;
    if (this.pending) this.#framing ??= this.#buffer[this.#start] === NUL ? "u32be" : "raw";
  }

  /** The next document, or undefined when more bytes are needed (or the stream can no longer be decoded). */
  next(): Frame | undefined {
    if (this.#refused) {
      this.#refused = false;
      return refusal("no_memory", NO_MEMORY);
    }
    if (this.#lost) {
      this.#lose();
      return undefined;
    }
    this.release();
    this.#framing ??= detectFraming(this.#arrived.subarray(0, 8));
    if (this.#framing === undefined) return undefined;
    return this.#framing === "raw" ? this.#nextRaw() : this.#nextFramed(this.#framing);
  }

  /** Drops bytes, and zeroes them. */
  #consume(length: number): void {
    this.#buffer.fill(0, this.#start, this.#start + length);
    this.#start += length;
    if (this.#start === this.#end) {
      this.#start = this.#end = 0;
      // A client that sends large documents usually sends more of them, and allocating large buffers is slow; otherwise the memory is released.
      if (length < this.#buffer.length / 4) this.trim(0);
    }
    this.#scanned = this.#start;
  }

  /** Releases memory above this many bytes, if the buffer is empty. */
  trim(keep: number): void {
    if (this.#end > this.#start || this.#buffer.length <= Math.max(keep, INITIAL_CAPACITY)) return;
    discard(this.#buffer);
    this.#buffer = new Uint8Array(INITIAL_CAPACITY);
    this.#mayHold(INITIAL_CAPACITY);
  }

  /** Zeroes the last document and frees its room. Call it when the body is no longer needed. */
  release(): void {
    if (this.#given > 0) this.#consume(this.#given);
    this.#given = 0;
  }

  /** Zeroes and frees all that has arrived. The decoder must not be used after it. */
  [Symbol.dispose](): void {
    this.#lose();
    this.trim(0);
  }

  #give(header: number, length: number): Frame {
    this.#given = header + length;
    return { body: this.#buffer.subarray(this.#start + header, this.#start + this.#given) };
  }

  #nextFramed(framing: "u64le" | "u32be"): Frame | undefined {
    if (this.#toDiscard > 0) {
      const thrown = Math.min(this.#toDiscard, this.#arrived.length);
      this.#toDiscard -= thrown;
      this.#consume(thrown);
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
    return this.#end - this.#start < this.#declared ? undefined : this.#give(header, declared);
  }

  #tooLarge(what: string, recoverable: boolean): Frame {
    const details = `The message has ${what}; at most ${this.#maxLength} are taken`;
    return refusal("too_large", details, recoverable);
  }

  #nextRaw(): Frame | undefined {
    if (this.#depth === 0) {
      while (this.#start < this.#end && isSpace(this.#buffer[this.#start] ?? NUL)) this.#start++;
      if (this.#start === this.#end) {
        this.#consume(0);
        return undefined;
      }
      if (this.#buffer[this.#start] !== CODE.openBrace) {
        const protocol = otherProtocol(this.#arrived);
        const named = protocol === undefined ? "" : `This port does not speak ${protocol}. `;
        return this.#lose(refusal("not_json", `${named}${NOT_AN_OBJECT}`));
      }
      this.#scanned = Math.max(this.#scanned, this.#start);
    }
    const isWhole = this.#scanObject();
    const length = (isWhole ? this.#scanned : this.#end) - this.#start;
    if (this.#depth > MAX_DEPTH) {
      return this.#lose(refusal("not_json", `JSON is nested deeper than ${MAX_DEPTH}`));
    }
    if (length > this.#maxLength) {
      return this.#lose(this.#tooLarge(`more than ${this.#maxLength} bytes`, false));
    }
    if (isWhole) return this.#give(0, length);
    return this.#ended ? this.#lose(refusal("not_json", "The JSON document is cut off")) : undefined;
  }

  /** Drops everything: the start of the next document cannot be found. */
  #lose(frame?: Frame): Frame | undefined {
    this.#lost = true;
    this.#given = 0;
    this.#consume(this.#arrived.length);
    return frame;
  }

  /** Scans on to the object's end, or to a bracket that is nested too deep. @returns whether it has ended */
  #scanObject(): boolean {
    const bytes = this.#buffer.subarray(0, this.#end);
    let at = this.#scanned;
    while (at < bytes.length && this.#depth <= MAX_DEPTH) {
      if (this.#inString) {
        at = closingQuote(bytes, at) + 1;
        this.#inString = at === 0;
        if (this.#inString) break;
        continue;
      }
      const byte = bytes[at++];
      if (byte === CODE.quote) this.#inString = true;
      else if (byte === CODE.openBrace || byte === CODE.openBracket) this.#depth++;
      else if ((byte === CODE.closeBrace || byte === CODE.closeBracket) && --this.#depth === 0) {
        this.#scanned = at;
        return true;
      }
    }
    this.#scanned = bytes.length;
    return false;
  }
}
