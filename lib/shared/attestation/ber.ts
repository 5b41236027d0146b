/**
 * The subset of the ASN.1 encodings that CMS and certificates need: a BER writer and reader with definite and indefinite lengths, and a reader
 * that accepts only definite lengths. ITU-T X.690.
 *
 * Runs in browsers.
 *
 * @module
 */
import { concat } from "../bytes.ts";
import { EnclaveError } from "../errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Identifier octets. */
export const TAG = {
  integer: 0x02,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  sequence: 0x30,
  set: 0x31,
  /** [0], primitive. */
  context0: 0x80,
  /** [0], constructed. */
  context0Constructed: 0xa0,
  /** [1], constructed. */
  context1Constructed: 0xa1,
} as const;

const CONSTRUCTED = 0x20;
const INDEFINITE = 0x80;
const HIGH_TAG = 0x1f;
const END_OF_CONTENTS = new Uint8Array(2);
/** Envelopes nest six deep, certificates seven. */
const MAX_DEPTH = 12;

/** The bytes are not in the supported subset of BER. */
export class BerError extends EnclaveError {
  override name = "BerError";
  constructor(message: string) {
    super(`Cannot read BER: ${message}`, {
      code: "ber_malformed",
      hint: "Check that the bytes are whole, and decoded from base64 once.",
    });
  }
}

/** An element of definite length, with the length in its shortest form. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Bytes {
  const length = contents.reduce((sum, part) => sum + part.length, 0);
  return concat([new Uint8Array([tag, ...lengthOctets(length)]), ...contents]);
}

/** A constructed element of indefinite length, with its end-of-contents octets. */
export function indefinite(tag: number, ...contents: readonly Uint8Array[]): Bytes {
  return concat([new Uint8Array([tag, INDEFINITE]), ...contents, END_OF_CONTENTS]);
}

function lengthOctets(length: number): readonly number[] {
  if (length < INDEFINITE) return [length];
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return [INDEFINITE | octets.length, ...octets];
}

/** An INTEGER of one octet. @param value 0 to 127 */
export function smallInteger(value: number): Bytes {
  return element(TAG.integer, new Uint8Array([value]));
}

/** An OBJECT IDENTIFIER, from its dotted form. */
export function objectIdentifier(dotted: string): Bytes {
  const [first = 0, second = 0, ...others] = dotted.split(".").map(Number);
  const octets = [first * 40 + second, ...others].flatMap((arc) => {
    const base128 = [arc % 128];
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) {
      base128.unshift(128 | rest % 128);
    }
    return base128;
  });
  return element(TAG.objectIdentifier, new Uint8Array(octets));
}

/** The dotted form of an OBJECT IDENTIFIER's contents. */
export function dottedForm(contents: Uint8Array): string {
  const [first = 0, ...rest] = contents;
  const arcs = [Math.floor(first / 40), first % 40];
  let arc = 0;
  for (const octet of rest) {
    arc = arc * 128 + (octet & 0x7f);
    if (octet < 0x80) [arc] = [0, arcs.push(arc)];
  }
  return arcs.join(".");
}

/** A parsed element. */
export interface BerElement {
  readonly tag: number;
  /** Identifier, length and contents. */
  readonly raw: Bytes;
  /** The contents of a primitive element; empty for a constructed one. */
  readonly contents: Bytes;
  /** The elements inside a constructed element; empty for a primitive one. */
  readonly children: readonly BerElement[];
}

/**
 * Reads one element; trailing bytes are an error. Definite lengths must be in their shortest form.
 *
 * @throws {BerError}
 */
export function parseBer(bytes: Bytes): BerElement {
  return readWhole(bytes, true);
}

/**
 * Reads one element as {@link parseBer} does, but accepts only definite lengths. DER's rules for values are not checked.
 *
 * @throws {BerError}
 */
export function parseDer(bytes: Bytes): BerElement {
  return readWhole(bytes, false);
}

function readWhole(bytes: Bytes, allowIndefinite: boolean): BerElement {
  const { element: whole, end } = readElement(
    { bytes, allowIndefinite },
    { start: 0, limit: bytes.length, depth: 0 },
  );
  if (end !== bytes.length) throw new BerError(`${bytes.length - end} bytes follow the end`);
  return whole;
}

/** The input, and how to read it. */
interface Input {
  readonly bytes: Bytes;
  readonly allowIndefinite: boolean;
}

/** Where an element begins, where the one around it ends, and how deep it is. */
interface Place {
  readonly start: number;
  readonly limit: number;
  readonly depth: number;
}

interface Read {
  readonly element: BerElement;
  readonly end: number;
}

function readElement(input: Input, place: Place): Read {
  const { bytes } = input;
  const { start, limit, depth } = place;
  if (depth > MAX_DEPTH) throw new BerError(`it is deeper than ${MAX_DEPTH}`);
  const tag = octet(bytes, start, limit);
  if ((tag & HIGH_TAG) === HIGH_TAG) throw new BerError("a tag has more than one octet");
  const isConstructed = (tag & CONSTRUCTED) !== 0;
  const first = octet(bytes, start + 1, limit);
  if (first === INDEFINITE) {
    if (!isConstructed) throw new BerError("a primitive element has no length");
    if (!input.allowIndefinite) throw new BerError("an element has no length");
    return readIndefinite(input, place, tag);
  }
  const { length, from } = readLength(bytes, start + 1, limit);
  if (length > limit - from) throw new BerError("an element ends beyond the one around it");
  const end = from + length;
  const raw = bytes.subarray(start, end);
  if (!isConstructed) {
    return { element: { tag, raw, contents: bytes.subarray(from, end), children: [] }, end };
  }
  const children: BerElement[] = [];
  for (let at = from; at < end;) {
    const child = readElement(input, { start: at, limit: end, depth: depth + 1 });
    children.push(child.element);
    at = child.end;
  }
  return { element: { tag, raw, contents: new Uint8Array(0), children }, end };
}

function readIndefinite(input: Input, { start, limit, depth }: Place, tag: number): Read {
  const { bytes } = input;
  const children: BerElement[] = [];
  let at = start + 2;
  while (octet(bytes, at, limit) !== 0) {
    const child = readElement(input, { start: at, limit, depth: depth + 1 });
    children.push(child.element);
    at = child.end;
  }
  if (octet(bytes, at + 1, limit) !== 0) throw new BerError("an end of contents has contents");
  const end = at + END_OF_CONTENTS.length;
  return { element: { tag, raw: bytes.subarray(start, end), contents: new Uint8Array(0), children }, end };
}

/** At most three octets, which is more than any envelope or certificate has. */
function readLength(
  bytes: Bytes,
  at: number,
  limit: number,
): { readonly length: number; readonly from: number } {
  const first = octet(bytes, at, limit);
  if (first < INDEFINITE) return { length: first, from: at + 1 };
  const count = first & 0x7f;
  if (count > 3) throw new BerError("a length has more than three octets");
  let length = 0;
  for (let index = 1; index <= count; index++) length = length * 256 + octet(bytes, at + index, limit);
  if (lengthOctets(length).length !== count + 1) throw new BerError("a length is not in its shortest form");
  return { length, from: at + 1 + count };
}

function octet(bytes: Bytes, at: number, limit: number): number {
  const value = at < limit ? bytes[at] : undefined;
  if (value === undefined) throw new BerError("it ends too early");
  return value;
}
