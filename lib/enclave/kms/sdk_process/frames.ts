/**
 * Messages on a pipe: u32 big-endian length, then CBOR, which carries raw bytes (base64 in JSON would leave
 * secrets in strings that cannot be wiped).
 *
 * @module
 */
import { decode, encode } from "cborg";

/** Well above the largest message of the protocol. */
const MAX_FRAME_LENGTH = 1 << 20;
const HEADER_LENGTH = 4;

/** A message encoded for the pipe. The caller wipes it after writing. */
export function encodeFrame(message: unknown): Uint8Array<ArrayBuffer> {
  const body = encode(message, { ignoreUndefinedProperties: true });
  const frame = new Uint8Array(HEADER_LENGTH + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, HEADER_LENGTH);
  body.fill(0);
  return frame;
}

/** Yields each message that arrives, until the stream ends. Its buffer is wiped after each message. */
export async function* decodeFrames(stream: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  let pending = new Uint8Array(0);
  for await (const chunk of stream) {
    const joined = new Uint8Array(pending.length + chunk.length);
    joined.set(pending);
    joined.set(chunk, pending.length);
    pending.fill(0);
    chunk.fill(0);
    pending = joined;
    while (pending.length >= HEADER_LENGTH) {
      const length = new DataView(pending.buffer, pending.byteOffset).getUint32(0);
      if (length > MAX_FRAME_LENGTH) {
        throw new RangeError(`Cannot read a message of ${length} bytes from an SDK process`);
      }
      if (pending.length < HEADER_LENGTH + length) break;
      const body = pending.subarray(HEADER_LENGTH, HEADER_LENGTH + length);
      const message: unknown = decode(body);
      body.fill(0);
      pending = pending.subarray(HEADER_LENGTH + length);
      yield message;
    }
  }
}
