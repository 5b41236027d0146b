/**
 * The two ramdisks of an image as nitro-cli makes them. The first one holds AWS's `init`, which loads the NSM's driver and starts what the second one
 * says: `cmd`, an argument a line, with `env`, a NAME=VALUE a line, in `rootfs/`. As found in aws-nitro-enclaves-cli, `enclave_build`, and
 * aws-nitro-enclaves-sdk-bootstrap, `init/init.c`.
 *
 * They are archives as the kernel unpacks its first file system from: cpio, "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
 * The same entries give the same bytes: sorted, owned by root, of one time, with numbered inodes.
 *
 * Needs write permission for a compressed ramdisk's file.
 *
 * @module
 */
import { once } from "node:events";
import { crc32, createDeflateRaw } from "node:zlib";
import { EifError } from "./errors.ts";
import { MOUNT_POINTS } from "./rootfs.ts";
import { type ByteSource, bytesSource, concatSources, piecesOf } from "./source.ts";

/** What an archive has at a path. */
export type CpioEntry =
  & { readonly path: string; readonly mode: number }
  & (
    | { readonly kind: "directory" }
    | { readonly kind: "file"; readonly content: ByteSource }
  );

/** The kernel expects the next archive at a multiple of four, with zeros before it. */
const ALIGNMENT = 4;
const LEVEL = 6;
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

/**
 * Compresses into a file, which is made. Gzip (RFC 1952) without time and name. The compressed bytes are those of the runtime's zlib: the same for the same
 * version of Deno, but possibly not for another.
 */
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

/** The first ramdisk: what boots. @param time seconds since 1970, of every file */
export function bootRamdisk(
  { init, nsm }: { readonly init: ByteSource; readonly nsm: ByteSource | undefined },
  time: number,
): ByteSource {
  return cpioArchive("boot ramdisk", [
    { path: "dev", mode: 0o755, kind: "directory" },
    { path: "init", mode: 0o755, kind: "file", content: init },
    // AWS's init continues without it.
    ...nsm === undefined
      ? []
      : [{ path: "nsm.ko", mode: 0o755, kind: "file", content: nsm }] satisfies CpioEntry[],
  ], time);
}

/** What the second ramdisk holds. */
interface ProgramOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The root file system's files, by their path in it. */
  readonly files: readonly { readonly path: string; readonly mode: number; readonly content: ByteSource }[];
}

/** Lines that `init` reads literally, without quoting. */
function lines(texts: readonly string[], what: string): ByteSource {
  for (const text of texts) {
    if (/[\n\0]/.test(text) || text === "") {
      throw new EifError("eif_input", `Cannot pass ${JSON.stringify(text)} as ${what}`, {
        hint: "Each is one line of a file in the image: it may not be empty, and have no line break.",
      });
    }
  }
  return bytesSource(new TextEncoder().encode(texts.map((text) => `${text}\n`).join("")), what);
}

/** The second ramdisk: the program. @throws {EifError} `eif_input`. */
export function programRamdisk(
  { command, environment, files }: ProgramOptions,
  time: number,
): ByteSource {
  const variables = Object.entries(environment).map(([name, value]) => {
    if (!/^[^=\0\n]+$/.test(name)) {
      throw new EifError("eif_input", `Cannot pass a variable named ${JSON.stringify(name)}`);
    }
    return `${name}=${value}`;
  });
  const entries: CpioEntry[] = [
    { path: "cmd", mode: 0o644, kind: "file", content: lines(command, "an argument") },
    { path: "env", mode: 0o644, kind: "file", content: lines(variables, "a variable") },
    ...MOUNT_POINTS.map((path): CpioEntry => ({ path: `rootfs${path}`, mode: 0o755, kind: "directory" })),
    ...files.map(({ path, mode, content }): CpioEntry => ({
      path: `rootfs${path}`,
      mode,
      kind: "file",
      content,
    })),
  ];
  return cpioArchive("program ramdisk", entries, time);
}
