/**
 * Frames on the pipe to a child: a fixed mark (u32), the length of the body (u32, both big-endian), the body. The mark is not text: anything else
 * that is printed to the pipe does not begin with it, and ends the child.
 *
 * @module
 */

type Bytes = Uint8Array<ArrayBuffer>;

/** No text in UTF-8 begins with these bytes. */
const MARK = 0xfade_c0de;
/** Bytes before the body. */
export const HEADER_LENGTH = 8;

/** Writes a whole number, big-endian. A view of the buffer would take ten times as long (measured). */
export function writeNumber(bytes: Bytes, at: number, length: number, value: number): void {
  for (let left = value, to = at + length - 1; to >= at; to--, left = Math.floor(left / 256)) {
    bytes[to] = left;
  }
}

/** Reads a whole number, big-endian. */
export function readNumber(bytes: Bytes, at: number, length: number): number {
  let value = 0;
  for (let from = at; from < at + length; from++) value = value * 256 + (bytes[from] ?? 0);
  return value;
}

/** Writes the header to the first bytes of what becomes a frame, by default of one with a body of zeros. */
export function newFrame(length: number, frame = new Uint8Array(HEADER_LENGTH + length)): Bytes {
  writeNumber(frame, 0, 4, MARK);
  writeNumber(frame, 4, 4, length);
  return frame;
}

/** Takes frames from chunks: each body is one buffer of its length, which is known before a byte of it is copied. */
export class FrameReader {
  #maxLength: number;
  #header = new Uint8Array(HEADER_LENGTH);
  #body: Bytes | undefined;
  #filled = 0;

  /** Starts at the beginning of a frame. @param maxLength of a body, bytes */
  constructor(maxLength: number) {
    this.#maxLength = maxLength;
  }

  /**
   * Takes a chunk, and wipes it.
   *
   * @returns the bodies that it completes, the caller's
   * @throws {RangeError} when it is not a frame.
   */
  *push(chunk: Uint8Array): Generator<Bytes, void> {
    for (let at = 0; at < chunk.length;) {
      if (this.#body === undefined) {
        this.#header[this.#filled++] = chunk[at] ?? 0;
        chunk[at++] = 0;
        if (this.#filled < HEADER_LENGTH) continue;
        this.#body = this.#newBody();
        this.#filled = 0;
      }
      const body = this.#body;
      const part = chunk.subarray(at, at + body.length - this.#filled);
      body.set(part, this.#filled);
      part.fill(0);
      at += part.length;
      this.#filled += part.length;
      if (this.#filled < body.length) return;
      this.#body = undefined;
      this.#filled = 0;
      yield body;
    }
  }

  #newBody(): Bytes {
    const mark = readNumber(this.#header, 0, 4);
    const length = readNumber(this.#header, 4, 4);
    if (mark !== MARK) throw new RangeError("what arrived is not a frame of the protocol");
    if (length <= this.#maxLength) return new Uint8Array(length);
    throw new RangeError(`a frame of ${length} bytes arrived: at most ${this.#maxLength} are allowed`);
  }

  /** Wipes what has arrived of an incomplete frame. */
  wipe(): void {
    this.#body?.fill(0);
  }
}
