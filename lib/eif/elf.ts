/**
 * What an ELF file needs to be loaded: its interpreter, its libraries, where they are looked for. 64-bit Linux on x86-64 and aarch64; System V ABI,
 * generic part, chapters 4 and 5. Reads some kilobytes of the file, whatever its size and whatever it claims.
 *
 * @module
 */
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import { type ByteSource, readExactly } from "./source.ts";

/** What there is to know of an ELF file. */
export interface ElfFile {
  readonly architecture: Architecture;
  /** The loader's path; undefined for libraries and static programs. */
  readonly interpreter: string | undefined;
  /** Its own name as a library. */
  readonly soname: string | undefined;
  /** Names of the libraries that it needs, in its order. */
  readonly needed: readonly string[];
  /** Folders to look for them, before the usual ones; `$ORIGIN` as it stands. */
  readonly runPath: readonly string[];
}

const MACHINES: Readonly<Record<number, Architecture>> = { 62: "x86_64", 183: "aarch64" };
const HEADER_LENGTH = 64;
const PROGRAM_HEADER_LENGTH = 56;
const MAX_PROGRAM_HEADERS = 128;
const MAX_DYNAMIC_LENGTH = 64 * 1024;
const MAX_STRINGS_LENGTH = 16 * 1024 * 1024;
const MAX_STRING_LENGTH = 4096;
const MAX_NEEDED = 256;

/** Kinds of program headers. */
const PT = { load: 1, dynamic: 2, interp: 3 } as const;
/** Tags of the dynamic section. */
const DT = { null: 0, needed: 1, strtab: 5, strsz: 10, soname: 14, rpath: 15, runpath: 29 } as const;

interface ProgramHeader {
  readonly type: number;
  readonly offset: bigint;
  readonly address: bigint;
  readonly fileSize: bigint;
}

/** The bytes of a file, each read checked against its length. */
class Reader {
  #source: ByteSource;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  refuse(why: string): EifError {
    return new EifError("elf_malformed", `Cannot read ${this.#source.name}: ${why}`);
  }

  async view(at: bigint, length: number, what: string): Promise<DataView> {
    if (at + BigInt(length) > BigInt(this.#source.size)) throw this.refuse(`${what} is beyond its end`);
    return new DataView((await readExactly(this.#source, Number(at), length)).buffer);
  }

  /** A text that ends with a NUL, before `end`. */
  async text(at: bigint, end: bigint, what: string): Promise<string> {
    const size = BigInt(this.#source.size);
    const limit = end < size ? end : size;
    if (at >= limit) throw this.refuse(`${what} is beyond its end`);
    const length = Math.min(Number(limit - at), MAX_STRING_LENGTH);
    const bytes = await readExactly(this.#source, Number(at), length);
    const nul = bytes.indexOf(0);
    if (nul < 0) throw this.refuse(`${what} does not end`);
    return new TextDecoder().decode(bytes.subarray(0, nul));
  }
}

/** Whether a file begins as an ELF file does. */
async function isElf(source: ByteSource): Promise<boolean> {
  if (source.size < HEADER_LENGTH) return false;
  const [a, b, c, d] = await readExactly(source, 0, 4);
  return a === 0x7f && b === 0x45 && c === 0x4c && d === 0x46;
}

/**
 * Reads an ELF file.
 *
 * @throws {EifError} `elf_malformed`.
 */
export async function readElf(source: ByteSource): Promise<ElfFile> {
  const reader = new Reader(source);
  if (!await isElf(source)) throw reader.refuse("it is not an ELF file");
  const header = await reader.view(0n, HEADER_LENGTH, "its header");
  if (header.getUint8(4) !== 2 || header.getUint8(5) !== 1) {
    throw reader.refuse("it is not 64-bit, little-endian");
  }
  const machine = header.getUint16(18, true);
  const architecture = MACHINES[machine];
  if (architecture === undefined) throw reader.refuse(`it is for machine ${machine}, no enclave's`);
  const headers = await programHeaders(reader, header);
  const interp = headers.find(({ type }) => type === PT.interp);
  const interpreter = interp === undefined
    ? undefined
    : await reader.text(interp.offset, interp.offset + interp.fileSize, "its interpreter");
  if (interpreter !== undefined && !isPlainPath(interpreter)) {
    throw reader.refuse(`its interpreter is ${JSON.stringify(interpreter)}`);
  }
  const dynamic = headers.find(({ type }) => type === PT.dynamic);
  if (dynamic === undefined) {
    return { architecture, interpreter, soname: undefined, needed: [], runPath: [] };
  }
  return { architecture, interpreter, ...await readDynamic(reader, dynamic, headers) };
}

/** An absolute path without detours. */
export function isPlainPath(path: string): boolean {
  return /^(\/[^/\0]+)+$/.test(path) && !path.split("/").some((part) => part === "." || part === "..");
}

/** A path without its detours: `/app/../lib` is `/lib`. Links are not looked at. */
export function withoutDetours(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

async function programHeaders(reader: Reader, header: DataView): Promise<readonly ProgramHeader[]> {
  const count = header.getUint16(56, true);
  if (header.getUint16(54, true) !== PROGRAM_HEADER_LENGTH || count > MAX_PROGRAM_HEADERS) {
    throw reader.refuse(`it claims ${count} program headers of ${header.getUint16(54, true)} bytes`);
  }
  const at = header.getBigUint64(32, true);
  const table = await reader.view(at, count * PROGRAM_HEADER_LENGTH, "its table of program headers");
  return Array.from({ length: count }, (_, index) => {
    const begin = index * PROGRAM_HEADER_LENGTH;
    return {
      type: table.getUint32(begin, true),
      offset: table.getBigUint64(begin + 8, true),
      address: table.getBigUint64(begin + 16, true),
      fileSize: table.getBigUint64(begin + 32, true),
    };
  });
}

async function readDynamic(
  reader: Reader,
  dynamic: ProgramHeader,
  headers: readonly ProgramHeader[],
): Promise<Pick<ElfFile, "soname" | "needed" | "runPath">> {
  if (dynamic.fileSize > MAX_DYNAMIC_LENGTH) throw reader.refuse("its dynamic section is too large");
  const table = await reader.view(dynamic.offset, Number(dynamic.fileSize), "its dynamic section");
  const found = new Map<bigint, bigint[]>();
  for (let at = 0; at + 16 <= table.byteLength; at += 16) {
    const tag = table.getBigUint64(at, true);
    if (tag === BigInt(DT.null)) break;
    const values = found.get(tag) ?? [];
    found.set(tag, values);
    values.push(table.getBigUint64(at + 8, true));
  }
  const values = (tag: number) => found.get(BigInt(tag)) ?? [];
  const [address] = values(DT.strtab);
  const [length = 0n] = values(DT.strsz);
  const segment = headers.find((candidate) =>
    candidate.type === PT.load && address !== undefined && address >= candidate.address &&
    address - candidate.address < candidate.fileSize
  );
  const names = [...values(DT.needed), ...values(DT.soname), ...values(DT.rpath), ...values(DT.runpath)];
  if (names.length === 0) return { soname: undefined, needed: [], runPath: [] };
  if (segment === undefined || address === undefined || length > MAX_STRINGS_LENGTH) {
    throw reader.refuse("its table of strings is nowhere");
  }
  if (names.length > MAX_NEEDED) throw reader.refuse(`it needs ${names.length} libraries`);
  const strings = segment.offset + (address - segment.address);
  const text = (at: bigint) => reader.text(strings + at, strings + length, "a name");
  const needed: string[] = [];
  for (const at of values(DT.needed)) needed.push(await text(at));
  const [soname] = values(DT.soname);
  // The newer tag replaces the older one.
  const [path] = [...values(DT.runpath), ...values(DT.rpath)];
  return {
    soname: soname === undefined ? undefined : await text(soname),
    needed,
    runPath: path === undefined ? [] : (await text(path)).split(":").filter((folder) => folder !== ""),
  };
}
