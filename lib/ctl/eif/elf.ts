/**
 * What an ELF file needs to be loaded: its interpreter, its libraries, where they are looked for, the
 * versions and symbols that it needs and gives, and whether all of it is there. 64-bit Linux on x86-64 and
 * aarch64; System V ABI, generic part, chapters 4 and 5; symbol versions and hash tables as glibc has them.
 * Reads the tables that it needs, each with a limit, whatever the file's size and whatever it claims.
 *
 * @module
 */
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import { type ByteSource, readExactly } from "./source.ts";

/** A version of a library's symbols that a file needs, such as `GLIBC_2.34` of `libc.so.6`. */
export interface NeededVersion {
  readonly library: string;
  readonly version: string;
}

/** The parts of an ELF file that are read. */
export interface ElfFile {
  readonly architecture: Architecture;
  /** Whether it is a relocatable object (`ET_REL`), as kernel modules are. */
  readonly relocatable: boolean;
  /** The loader's path; undefined for libraries and static programs. */
  readonly interpreter: string | undefined;
  /** Its own name as a library. */
  readonly soname: string | undefined;
  /** Names of the libraries that it needs, in its order. */
  readonly needed: readonly string[];
  /** Folders to look for what this file needs (`DT_RUNPATH`); `$ORIGIN` as it stands. */
  readonly runPath: readonly string[];
  /** The same for what it and the files that it loads need (`DT_RPATH`); empty where there is a `DT_RUNPATH`, as for the loader. */
  readonly rpath: readonly string[];
  /** Versions without which the loader refuses the file. */
  readonly neededVersions: readonly NeededVersion[];
  /** Versions that it has; empty for a library without versions, which the loader takes for any. */
  readonly versions: readonly string[];
}

/** The symbols of an ELF file that a loader looks at. */
export interface ElfSymbols {
  readonly exported: ReadonlySet<string>;
  /** Symbols that other files must export, without weak ones, which may be missing. */
  readonly undefined: readonly string[];
}

const MACHINES: Readonly<Record<number, Architecture>> = { 62: "x86_64", 183: "aarch64" };
const HEADER_LENGTH = 64;
const PROGRAM_HEADER_LENGTH = 56;
const SECTION_HEADER_LENGTH = 64;
const MAX_PROGRAM_HEADERS = 128;
const MAX_DYNAMIC_LENGTH = 64 * 1024;
const MAX_STRINGS_LENGTH = 16 * 1024 * 1024;
const MAX_STRING_LENGTH = 4096;
const MAX_NEEDED = 256;
const MAX_VERSIONS = 4096;
const MAX_SYMBOLS = 1 << 20;
const SYMBOL_LENGTH = 24;
const ET_REL = 1;
/** A section that takes no bytes of the file. */
const SHT_NOBITS = 8;
/** The loader does not require a version with this flag. */
const VERSION_WEAK = 2;
/** Bindings of symbols. */
const STB = { local: 0, weak: 2 } as const;

/** Kinds of program headers. */
const PT = { load: 1, dynamic: 2, interp: 3 } as const;
/** Tags of the dynamic section. */
const DT = {
  null: 0,
  needed: 1,
  hash: 4,
  strtab: 5,
  symtab: 6,
  strsz: 10,
  soname: 14,
  rpath: 15,
  runpath: 29,
  gnuHash: 0x6fff_fef5,
  verdef: 0x6fff_fffc,
  verneed: 0x6fff_fffe,
} as const;

interface ProgramHeader {
  readonly type: number;
  readonly offset: bigint;
  readonly address: bigint;
  readonly size: bigint;
}

interface Section {
  /** Where its name is in the table of names. */
  readonly name: number;
  readonly offset: bigint;
  /** Bytes of the file. */
  readonly size: bigint;
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

  /** Refuses a file that ends before one of its parts does. */
  requireWhole(parts: readonly { readonly offset: bigint; readonly size: bigint }[]): void {
    for (const { offset, size } of parts) {
      if (size === 0n || offset + size <= BigInt(this.#source.size)) continue;
      throw this.refuse(`it was cut short: it has ${this.#source.size} of at least ${offset + size} bytes`);
    }
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

/** A file's header and program headers, and its dynamic section where it has one. */
interface Opened {
  readonly reader: Reader;
  readonly architecture: Architecture;
  readonly relocatable: boolean;
  readonly header: DataView;
  readonly headers: readonly ProgramHeader[];
  readonly dynamic: Dynamic | undefined;
}

async function open(source: ByteSource): Promise<Opened> {
  const reader = new Reader(source);
  if (!await isElf(source)) throw reader.refuse("it is not an ELF file");
  const header = await reader.view(0n, HEADER_LENGTH, "its header");
  if (header.getUint8(4) !== 2 || header.getUint8(5) !== 1) {
    throw reader.refuse("it is not 64-bit, little-endian");
  }
  const machine = header.getUint16(18, true);
  const architecture = MACHINES[machine];
  if (architecture === undefined) throw reader.refuse(`it is for machine ${machine}, no enclave's`);
  const relocatable = header.getUint16(16, true) === ET_REL;
  const headers = relocatable ? [] : await programHeaders(reader, header);
  const dynamic = headers.find(({ type }) => type === PT.dynamic);
  return {
    reader,
    architecture,
    relocatable,
    header,
    headers,
    dynamic: dynamic === undefined ? undefined : await Dynamic.read(reader, dynamic, headers),
  };
}

/**
 * Reads an ELF file.
 *
 * @throws {EifError} `elf_malformed`.
 */
export async function readElf(source: ByteSource): Promise<ElfFile> {
  const opened = await open(source);
  const { reader, architecture, relocatable, headers, dynamic } = opened;
  const interp = headers.find(({ type }) => type === PT.interp);
  const interpreter = interp === undefined
    ? undefined
    : await reader.text(interp.offset, interp.offset + interp.size, "its interpreter");
  if (interpreter !== undefined && !isPlainPath(interpreter)) {
    throw reader.refuse(`its interpreter is ${JSON.stringify(interpreter)}`);
  }
  const needed = await dynamic?.texts(DT.needed) ?? [];
  if (needed.length > MAX_NEEDED) throw reader.refuse(`it needs ${needed.length} libraries`);
  const folders = async (tag: number) => (await dynamic?.texts(tag))?.[0]?.split(":").filter(Boolean);
  const runPath = await folders(DT.runpath);
  await sectionsOf(opened);
  return {
    architecture,
    relocatable,
    interpreter,
    soname: (await dynamic?.texts(DT.soname))?.[0],
    needed,
    runPath: runPath ?? [],
    // The newer tag replaces the older one.
    rpath: runPath === undefined ? await folders(DT.rpath) ?? [] : [],
    neededVersions: dynamic === undefined ? [] : await readNeededVersions(dynamic),
    versions: dynamic === undefined ? [] : await readVersions(dynamic),
  };
}

/**
 * Reads the symbols of an ELF file that a loader looks at.
 *
 * @throws {EifError} `elf_malformed`.
 */
export async function readElfSymbols(source: ByteSource): Promise<ElfSymbols> {
  const { reader, dynamic } = await open(source);
  const exported = new Set<string>();
  const missing: string[] = [];
  const at = dynamic?.address(DT.symtab);
  if (dynamic === undefined || at === undefined) return { exported, undefined: missing };
  const count = await symbolCount(dynamic);
  const table = await reader.view(dynamic.place(at), count * SYMBOL_LENGTH, "its table of symbols");
  const names = await dynamic.strings();
  // The first entry is not a symbol.
  for (let index = 1; index < count; index++) {
    const begin = index * SYMBOL_LENGTH;
    const binding = table.getUint8(begin + 4) >> 4;
    const name = names(table.getUint32(begin, true));
    if (binding === STB.local || name === "") continue;
    if (table.getUint16(begin + 6, true) !== 0) exported.add(name);
    else if (binding !== STB.weak) missing.push(name);
  }
  return { exported, undefined: missing };
}

/**
 * Reads the contents of a section as text, a byte each character; undefined when there is no such section.
 *
 * @throws {EifError} `elf_malformed`.
 */
export async function readElfSection(source: ByteSource, name: string): Promise<string | undefined> {
  const opened = await open(source);
  const sections = await sectionsOf(opened);
  const text = async ({ offset, size }: Section, what: string) => {
    if (size > MAX_STRINGS_LENGTH) throw opened.reader.refuse(`${what} is too large`);
    return new TextDecoder("latin1").decode(await opened.reader.view(offset, Number(size), what));
  };
  const table = sections[opened.header.getUint16(62, true)];
  if (table === undefined) return undefined;
  const names = await text(table, "its table of names");
  const found = sections.find((section) => names.startsWith(`${name}\0`, section.name));
  return found === undefined ? undefined : await text(found, name);
}

/** Whether it is an absolute path without `.` and `..` segments. */
export function isPlainPath(path: string): boolean {
  return /^(\/[^/\0]+)+$/.test(path) && !path.split("/").some((part) => part === "." || part === "..");
}

/** A path without `.` and `..` segments: `/app/../lib` is `/lib`. Links are not resolved. */
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
      size: table.getBigUint64(begin + 32, true),
    };
  });
}

/**
 * The sections of a file, all of which is there. @throws {EifError} `elf_malformed` when it was cut short.
 */
async function sectionsOf({ reader, header, headers }: Opened): Promise<readonly Section[]> {
  const offset = header.getBigUint64(40, true);
  const [length, count] = [header.getUint16(58, true), offset === 0n ? 0 : header.getUint16(60, true)];
  if (count > 0 && length !== SECTION_HEADER_LENGTH) {
    throw reader.refuse(`it claims sections of ${length} bytes`);
  }
  reader.requireWhole([...headers, { offset, size: BigInt(count * SECTION_HEADER_LENGTH) }]);
  const table = await reader.view(offset, count * SECTION_HEADER_LENGTH, "its table of sections");
  const sections = Array.from({ length: count }, (_, index) => {
    const begin = index * SECTION_HEADER_LENGTH;
    return {
      name: table.getUint32(begin, true),
      offset: table.getBigUint64(begin + 24, true),
      size: table.getUint32(begin + 4, true) === SHT_NOBITS ? 0n : table.getBigUint64(begin + 32, true),
    };
  });
  reader.requireWhole(sections);
  return sections;
}

/** The dynamic section: values by tag, and what they point to. */
class Dynamic {
  readonly reader: Reader;
  #values: ReadonlyMap<number, readonly bigint[]>;
  #segments: readonly ProgramHeader[];

  private constructor(
    reader: Reader,
    values: ReadonlyMap<number, readonly bigint[]>,
    segments: readonly ProgramHeader[],
  ) {
    this.reader = reader;
    this.#values = values;
    this.#segments = segments;
  }

  static async read(
    reader: Reader,
    section: ProgramHeader,
    headers: readonly ProgramHeader[],
  ): Promise<Dynamic> {
    if (section.size > MAX_DYNAMIC_LENGTH) throw reader.refuse("its dynamic section is too large");
    const table = await reader.view(section.offset, Number(section.size), "its dynamic section");
    const values = new Map<number, bigint[]>();
    for (let at = 0; at + 16 <= table.byteLength; at += 16) {
      const tag = Number(table.getBigUint64(at, true));
      if (tag === DT.null) break;
      const given = values.get(tag) ?? [];
      values.set(tag, given);
      given.push(table.getBigUint64(at + 8, true));
    }
    return new Dynamic(reader, values, headers.filter(({ type }) => type === PT.load));
  }

  /** The address that a tag gives. */
  address(tag: number): bigint | undefined {
    return this.#values.get(tag)?.[0];
  }

  /** Where an address is in the file. */
  place(address: bigint): bigint {
    const segment = this.#segments.find((candidate) =>
      address >= candidate.address && address - candidate.address < candidate.size
    );
    if (segment === undefined) throw this.reader.refuse("a table of its dynamic section is nowhere");
    return segment.offset + (address - segment.address);
  }

  #strings(): { readonly begin: bigint; readonly length: bigint } {
    const address = this.address(DT.strtab);
    const length = this.address(DT.strsz) ?? 0n;
    if (address === undefined || length > MAX_STRINGS_LENGTH) {
      throw this.reader.refuse("its table of strings is nowhere");
    }
    return { begin: this.place(address), length };
  }

  /** A name of the table of strings. */
  async text(at: bigint): Promise<string> {
    const { begin, length } = this.#strings();
    return await this.reader.text(begin + at, begin + length, "a name");
  }

  /** The names that a tag gives. */
  async texts(tag: number): Promise<readonly string[]> {
    const given = this.#values.get(tag) ?? [];
    if (given.length > MAX_NEEDED) throw this.reader.refuse(`it needs ${given.length} libraries`);
    const texts: string[] = [];
    for (const at of given) texts.push(await this.text(at));
    return texts;
  }

  /** The whole string table, for reading many names. */
  async strings(): Promise<(at: number) => string> {
    const { begin, length } = this.#strings();
    const { buffer } = await this.reader.view(begin, Number(length), "its table of strings");
    const bytes = new Uint8Array(buffer);
    const decoder = new TextDecoder();
    return (at) => {
      const end = bytes.indexOf(0, at);
      if (at >= bytes.length || end < 0) throw this.reader.refuse("a name does not end");
      return decoder.decode(bytes.subarray(at, end));
    };
  }
}

/** Limits the number of entries read, since chains can be cyclic. */
class Budget {
  #left = MAX_VERSIONS;

  take(reader: Reader): void {
    if (this.#left-- === 0) throw reader.refuse(`it has more than ${MAX_VERSIONS} versions`);
  }
}

/** Entries that are chained: each says how far behind it the next one begins. */
async function* chain(
  { reader }: Dynamic,
  begin: bigint,
  { length, nextAt, budget }: { readonly length: number; readonly nextAt: number; readonly budget: Budget },
): AsyncGenerator<{ readonly at: bigint; readonly entry: DataView }> {
  for (let at = begin;;) {
    budget.take(reader);
    const entry = await reader.view(at, length, "its versions");
    yield { at, entry };
    const next = entry.getUint32(nextAt, true);
    if (next === 0) return;
    at += BigInt(next);
  }
}

/** Elf64_Verneed, a library each; Elf64_Vernaux, a version each. */
async function readNeededVersions(dynamic: Dynamic): Promise<readonly NeededVersion[]> {
  const address = dynamic.address(DT.verneed);
  if (address === undefined) return [];
  const found: NeededVersion[] = [];
  const shape = { length: 16, nextAt: 12, budget: new Budget() };
  for await (const { at, entry } of chain(dynamic, dynamic.place(address), shape)) {
    const library = await dynamic.text(BigInt(entry.getUint32(4, true)));
    const first = at + BigInt(entry.getUint32(8, true));
    for await (const { entry: version } of chain(dynamic, first, shape)) {
      if ((version.getUint16(4, true) & VERSION_WEAK) !== 0) continue;
      found.push({ library, version: await dynamic.text(BigInt(version.getUint32(8, true))) });
    }
  }
  return found;
}

/** Elf64_Verdef, a version each, with its name in the first Elf64_Verdaux. */
async function readVersions(dynamic: Dynamic): Promise<readonly string[]> {
  const address = dynamic.address(DT.verdef);
  if (address === undefined) return [];
  const found: string[] = [];
  const shape = { length: 20, nextAt: 16, budget: new Budget() };
  for await (const { at, entry } of chain(dynamic, dynamic.place(address), shape)) {
    const name = await dynamic.reader.view(at + BigInt(entry.getUint32(12, true)), 8, "its versions");
    found.push(await dynamic.text(BigInt(name.getUint32(0, true))));
  }
  return found;
}

/** The number of symbols, which only the hash tables give. */
async function symbolCount(dynamic: Dynamic): Promise<number> {
  const { reader } = dynamic;
  const limited = (count: number) => {
    if (count <= MAX_SYMBOLS) return count;
    throw reader.refuse(`it claims ${count} symbols`);
  };
  const hash = dynamic.address(DT.hash);
  if (hash !== undefined) {
    return limited((await reader.view(dynamic.place(hash), 8, "its hash table")).getUint32(4, true));
  }
  const gnu = dynamic.address(DT.gnuHash);
  if (gnu === undefined) return 0;
  const begin = dynamic.place(gnu);
  const header = await reader.view(begin, 16, "its hash table");
  const [buckets, first, bloom] = [0, 4, 8].map((at) => limited(header.getUint32(at, true)));
  if (buckets === undefined || first === undefined || bloom === undefined) return 0;
  const bucketsAt = begin + 16n + 8n * BigInt(bloom);
  const table = await reader.view(bucketsAt, 4 * buckets, "its hash table");
  let last = 0;
  for (let at = 0; at < table.byteLength; at += 4) last = Math.max(last, table.getUint32(at, true));
  // Nothing is exported. Only the number of the symbols before the hashed ones is known.
  if (last < first) return first;
  const chainsAt = bucketsAt + 4n * BigInt(buckets);
  for (; last < MAX_SYMBOLS; last++) {
    const entry = await reader.view(chainsAt + 4n * BigInt(last - first), 4, "its hash table");
    // The last one of a chain has its lowest bit set.
    if ((entry.getUint32(0, true) & 1) === 1) return last + 1;
  }
  throw reader.refuse("its hash table does not end");
}
