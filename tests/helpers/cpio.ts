/**
 * Reads an archive as the kernel does (init/initramfs.c), to see what it would unpack.
 *
 * @module
 */

/** An entry, as the archive has it. */
export interface UnpackedEntry {
  readonly path: string;
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly time: number;
  readonly content: Uint8Array;
}

/** The entries of an archive; throws on what the kernel would not take. */
export function unpackCpio(archive: Uint8Array): readonly UnpackedEntry[] {
  const entries: UnpackedEntry[] = [];
  const text = (from: number, to: number) => new TextDecoder().decode(archive.subarray(from, to));
  for (let at = 0;;) {
    if (at % 4 !== 0) throw new Error(`an entry at ${at}`);
    if (text(at, at + 6) !== "070701") throw new Error(`no entry at ${at}`);
    const field = (index: number) => Number.parseInt(text(at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [size, nameLength] = [field(6), field(11)];
    const path = text(at + 110, at + 110 + nameLength - 1);
    const begin = Math.ceil((at + 110 + nameLength) / 4) * 4;
    if (path === "TRAILER!!!") {
      if (archive.subarray(begin).some((byte) => byte !== 0)) throw new Error("something after the end");
      return entries;
    }
    entries.push({
      path,
      inode: field(0),
      mode: field(1),
      uid: field(2),
      gid: field(3),
      time: field(5),
      content: archive.subarray(begin, begin + size),
    });
    at = Math.ceil((begin + size) / 4) * 4;
  }
}
