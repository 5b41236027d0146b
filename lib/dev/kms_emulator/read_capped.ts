/**
 * Reads a body that may hold a key, and may be too long.
 *
 * @module
 */

/**
 * Reads to the end, or to the limit.
 *
 * @param max bytes
 * @returns the bytes, the caller's to wipe; undefined if there are more
 * @throws the stream's error, after what was read is wiped
 */
export async function readCapped(
  stream: ReadableStream<Uint8Array> | null,
  max: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const buffer = new Uint8Array(max);
  let length = 0;
  try {
    for await (const chunk of stream ?? []) {
      if (length + chunk.length > max) {
        buffer.fill(0);
        return undefined;
      }
      buffer.set(chunk, length);
      length += chunk.length;
      chunk.fill(0);
    }
  } catch (thrown) {
    buffer.fill(0);
    throw thrown;
  }
  return buffer.subarray(0, length);
}
