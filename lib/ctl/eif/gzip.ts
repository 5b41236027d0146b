/**
 * Reproducible gzip (RFC 1952): no time, no name, unknown system. The compressed bytes are those of the runtime's
 * zlib: the same for the same version of Deno, but possibly not for another. The uncompressed data is always the same.
 *
 * Needs write permission for the file.
 *
 * @module
 */
import { once } from "node:events";
import { crc32, createDeflateRaw } from "node:zlib";
import { type ByteSource, piecesOf } from "./source.ts";

/** The kernel expects the next archive at a multiple of four, with zeros before it. */
const ALIGNMENT = 4;
const LEVEL = 6;

/** Compresses into a file, which is made. */
export async function gzipToFile(source: ByteSource, path: string): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  let size = 0;
  const write = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    size += bytes.length;
  };
  await write(new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]));
  const deflate = createDeflateRaw({ level: LEVEL });
  let crc = 0;
  const feed = async () => {
    for await (const piece of piecesOf(source)) {
      crc = crc32(piece, crc);
      // Copy the piece: its buffer is overwritten while the stream still holds it.
      if (!deflate.write(piece.slice())) await once(deflate, "drain");
    }
    deflate.end();
  };
  const fed = feed().catch((thrown) => deflate.destroy(thrown));
  for await (const piece of deflate) await write(piece);
  await fed;
  const trailer = new DataView(new ArrayBuffer(8));
  trailer.setUint32(0, crc, true);
  trailer.setUint32(4, source.size >>> 0, true);
  await write(new Uint8Array(trailer.buffer));
  await write(new Uint8Array((ALIGNMENT - size % ALIGNMENT) % ALIGNMENT));
}
