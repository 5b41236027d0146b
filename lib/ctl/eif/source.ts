/**
 * Bytes that are read in pieces, so that an image of any size takes the same memory: files, byte strings, and several of them one after the
 * other.
 *
 * Needs read permission on the files.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { messageOf } from "../../shared/errors.ts";
import { EifError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of one piece. */
const PIECE_LENGTH = 1024 * 1024;

/** Bytes of a known number, read from any place. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /**
   * Fills `into` from a place on.
   *
   * @returns how many bytes; 0 at the end
   */
  read(at: number, into: Bytes): Promise<number>;
}

/** Called with the position up to which bytes have been read. */
export type OnProgress = (done: number) => void;

function unreadable(name: string, thrown: unknown): EifError {
  const why = thrown instanceof Deno.errors.NotFound
    ? "there is no such file"
    : thrown instanceof Deno.errors.PermissionDenied
    ? "it may not be read"
    : messageOf(thrown);
  return new EifError("eif_unreadable", `Cannot read ${name}: ${why}`, { cause: thrown });
}

/** A file. `using` closes it. */
export class FileSource implements ByteSource, Disposable {
  readonly name: string;
  readonly size: number;
  #file: Deno.FsFile | undefined;
  #at = 0;

  private constructor(name: string, size: number, file: Deno.FsFile) {
    this.name = name;
    this.size = size;
    this.#file = file;
  }

  /** Opens it. @throws {EifError} `eif_unreadable`. */
  static async open(path: string): Promise<FileSource> {
    try {
      // Check the type first: opening a pipe would block until its other end is opened.
      const { isFile } = await Deno.stat(path);
      if (!isFile) throw new Error("it is not a file");
      using opened = new DisposableStack();
      const file = opened.use(await Deno.open(path));
      const { size } = await file.stat();
      opened.move();
      return new FileSource(path, size, file);
    } catch (thrown) {
      throw unreadable(path, thrown);
    }
  }

  async read(at: number, into: Bytes): Promise<number> {
    if (this.#file === undefined) throw new TypeError(`${this.name} is closed`);
    try {
      if (at !== this.#at) await this.#file.seek(at, Deno.SeekMode.Start);
      const count = await this.#file.read(into) ?? 0;
      this.#at = at + count;
      return count;
    } catch (thrown) {
      throw unreadable(this.name, thrown);
    }
  }

  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
  }
}

/** A set of open files, each opened once. `using` closes them. */
export class OpenFiles implements Disposable {
  #files = new Map<string, FileSource>();

  /** Opens a file, or returns the open one. @throws {EifError} `eif_unreadable`. */
  async open(path: string): Promise<FileSource> {
    const file = this.#files.get(path) ?? await FileSource.open(path);
    this.#files.set(path, file);
    return file;
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
  }
}

/** A byte string. */
export function bytesSource(bytes: Uint8Array, name = "bytes"): ByteSource {
  return {
    name,
    size: bytes.length,
    read: (at, into) => {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      return Promise.resolve(part.length);
    },
  };
}

/** Sources one after the other, as one. */
export function concatSources(name: string, sources: readonly ByteSource[]): ByteSource {
  const ends: number[] = [];
  let size = 0;
  for (const source of sources) ends.push(size += source.size);
  // Reads usually go forward, so the search begins where the last one ended.
  let index = 0;
  return {
    name,
    size,
    read: async (at, into) => {
      if (at < (ends[index - 1] ?? 0)) index = 0;
      while (index < sources.length && at >= (ends[index] ?? 0)) index++;
      const source = sources[index];
      if (source === undefined) return 0;
      const within = at - (ends[index - 1] ?? 0);
      const count = await source.read(within, into.subarray(0, source.size - within));
      if (count === 0 && into.length > 0) throw changed(source.name);
      return count;
    },
  };
}

/** A source that is read once from start to end, and hashed while it is read. */
export interface HashedSource extends ByteSource {
  /** SHA-256, hex. @throws {Error} before all of it was read. */
  digest(): string;
}

/** Hashes what is read. */
export function hashSource(source: ByteSource): HashedSource {
  const hash = createHash("sha256");
  let done = 0;
  return {
    name: source.name,
    size: source.size,
    read: async (at, into) => {
      if (at !== done) throw new Error(`${source.name} is not read in order`);
      const count = await source.read(at, into);
      hash.update(into.subarray(0, count));
      done += count;
      return count;
    },
    digest: () => {
      if (done !== source.size) throw new Error(`${source.name} was read up to ${done} of ${source.size}`);
      return hash.copy().digest("hex");
    },
  };
}

function changed(name: string): EifError {
  return new EifError("eif_unreadable", `Cannot read ${name}: it became shorter while it was read`, {
    hint: "Try again when no program is writing to it.",
  });
}

/**
 * A part of a source, piece by piece. A piece is good until the next one is asked for.
 *
 * @throws {EifError} `eif_unreadable` when the source ends before.
 */
export async function* piecesOf(
  source: ByteSource,
  at = 0,
  length: number = source.size - at,
): AsyncGenerator<Bytes> {
  const buffer = new Uint8Array(Math.min(PIECE_LENGTH, length));
  for (let done = 0; done < length;) {
    const count = await source.read(at + done, buffer.subarray(0, Math.min(buffer.length, length - done)));
    if (count === 0) throw changed(source.name);
    yield buffer.subarray(0, count);
    done += count;
  }
}

/**
 * A part of a source as one byte string.
 *
 * @throws {EifError} `eif_unreadable` when the source ends before.
 */
export async function readExactly(source: ByteSource, at: number, length: number): Promise<Bytes> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const count = await source.read(at + done, bytes.subarray(done));
    if (count === 0) throw changed(source.name);
    done += count;
  }
  return bytes;
}

/**
 * The whole of a source as text, a byte each character, in pieces to look for short texts in: each piece
 * repeats the end of the one before.
 *
 * @param overlap bytes that are repeated: no text that is looked for may be longer
 */
export async function* textPieces(source: ByteSource, overlap: number): AsyncGenerator<string> {
  const decoder = new TextDecoder("latin1");
  let end = "";
  for await (const piece of piecesOf(source)) {
    const text = end + decoder.decode(piece);
    yield text;
    end = text.slice(-overlap);
  }
}
