/**
 * Archives as the kernel unpacks its first file system from: cpio, "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). The
 * same entries give the same bytes: sorted, owned by root, of one time, with numbered inodes.
 *
 * @module
 */
import { EifError } from "./errors.ts";
import { type ByteSource, bytesSource, concatSources } from "./source.ts";

/** What an archive has at a path. */
export type CpioEntry =
  & { readonly path: string; readonly mode: number }
  & (
    | { readonly kind: "directory" }
    | { readonly kind: "file"; readonly content: ByteSource }
  );

const MAX_FILE_LENGTH = 0xffff_ffff;
const MAX_PATH_LENGTH = 1024;
/** The next archive must begin at a multiple of four; tools pad to a multiple of their block size. */
const BLOCK = 512;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const TRAILER = "TRAILER!!!";

function padding(length: number, to: number): number {
  return (to - length % to) % to;
}

interface HeaderFields {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly time: number;
  readonly size: number;
  readonly path: string;
}

/** A header of 110 characters, then the name, then NULs up to a multiple of four. */
function header({ inode, mode, links, time, size, path }: HeaderFields): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(`${path}\0`);
  const fields = [inode, mode, 0, 0, links, time, size, 0, 0, 0, 0, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("")}`;
  const bytes = new Uint8Array(text.length + name.length + padding(text.length + name.length, 4));
  bytes.set(new TextEncoder().encode(text));
  bytes.set(name, text.length);
  return bytes;
}

function compareBytes(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => new TextEncoder().encode(text));
  for (const [index, byte] of left?.entries() ?? []) {
    const other = right?.[index];
    if (other === undefined || other !== byte) return byte - (other ?? -1);
  }
  return (left?.length ?? 0) - (right?.length ?? 0);
}

/** All folders above the entries that are not entries themselves. */
function withParents(entries: readonly CpioEntry[]): readonly CpioEntry[] {
  const all = new Map<string, CpioEntry>();
  for (const entry of entries) {
    if (
      entry.path === "" || entry.path.length > MAX_PATH_LENGTH || entry.path === TRAILER ||
      entry.path.split("/").some((part) => part === "" || part === "." || part === "..") ||
      entry.path.includes("\0")
    ) {
      throw new EifError(
        "eif_input",
        `Cannot put ${JSON.stringify(entry.path)} into an archive: it is not a path`,
      );
    }
    const same = all.get(entry.path);
    if (same !== undefined && !(same.kind === "directory" && entry.kind === "directory")) {
      throw new EifError("eif_input", `Two files for /${entry.path}`);
    }
    all.set(entry.path, entry);
  }
  for (const { path } of entries) {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      const above = all.get(parent) ?? { path: parent, mode: 0o755, kind: "directory" };
      if (above.kind !== "directory") {
        throw new EifError("eif_input", `/${parent} is a file, and a folder of /${path}`);
      }
      all.set(parent, above);
    }
  }
  return [...all.values()].sort((a, b) => compareBytes(a.path, b.path));
}

/**
 * An archive as a source to read from, without holding files in memory. Parent folders need not be listed.
 *
 * @param time of every entry, in seconds since 1970
 * @throws {EifError} `eif_input` for paths that clash, or files of 4 GiB or more.
 */
export function cpioArchive(name: string, entries: readonly CpioEntry[], time: number): ByteSource {
  const pieces: ByteSource[] = [];
  let size = 0;
  const push = (piece: ByteSource) => {
    pieces.push(piece);
    size += piece.size;
  };
  for (const [index, entry] of withParents(entries).entries()) {
    const isFile = entry.kind === "file";
    const length = isFile ? entry.content.size : 0;
    if (length > MAX_FILE_LENGTH) {
      throw new EifError("eif_input", `/${entry.path} is larger than an archive takes`);
    }
    push(bytesSource(header({
      inode: index + 1,
      mode: (isFile ? REGULAR : DIRECTORY) | entry.mode,
      links: isFile ? 1 : 2,
      time,
      size: length,
      path: entry.path,
    })));
    if (!isFile) continue;
    push(entry.content);
    push(bytesSource(new Uint8Array(padding(length, 4))));
  }
  push(bytesSource(header({ inode: 0, mode: 0, links: 1, time: 0, size: 0, path: TRAILER })));
  push(bytesSource(new Uint8Array(padding(size, BLOCK))));
  return concatSources(name, pieces);
}
