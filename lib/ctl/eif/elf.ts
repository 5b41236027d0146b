/**
 * What an ELF file needs to be loaded: its interpreter, its libraries, where they are looked for, the versions and symbols that it needs and has. 64-bit
 * Linux on x86-64 and aarch64; System V ABI, generic part, chapter 4; symbol versions as the Linux Standard Base has them. The tables are found by the
 * section headers, which `strip` keeps. Each table is read with a limit, whatever the file claims.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import { type ByteSource, readExactly } from "./source.ts";

/** A version of a library's symbols that a file needs, such as `GLIBC_2.34` of `libc.so.6`. */
interface NeededVersion {
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
  /** Folders to look for them (`DT_RUNPATH`, or `DT_RPATH` without it); `$ORIGIN` as it stands. */
  readonly runPath: readonly string[];
  /** Versions without which the loader refuses the file. */
  readonly neededVersions: readonly NeededVersion[];
  /** Versions that it has; empty for a library without versions, which the loader takes for any. */
  readonly versions: readonly string[];
  readonly exported: ReadonlySet<string>;
  /** Symbols that other files must export, without weak ones, which may be missing. */
  readonly undefined: readonly string[];
  /** What a kernel module says about itself (`.modinfo`): entries that end with NUL. */
  readonly moduleInfo: string | undefined;
}

const MACHINES: Readonly<Record<number, Architecture>> = { 62: "x86_64", 183: "aarch64" };
const HEADER_LENGTH = 64;
const SECTION_HEADER_LENGTH = 64;
const SYMBOL_LENGTH = 24;
const MAX_TABLE_LENGTH = 32 * 1024 * 1024;
const MAX_NAME_LENGTH = 4096;
/** Entries of a table of versions. */
const MAX_VERSIONS = 4096;
const ET_REL = 1;
/** Kinds of sections. */
const SHT = { dynamic: 6, nobits: 8, dynsym: 11, verdef: 0x6fff_fffd, verneed: 0x6fff_fffe } as const;
/** Tags of the dynamic section. */
const DT = { null: 0n, needed: 1n, soname: 14n, rpath: 15n, runpath: 29n } as const;
/** Bindings of symbols. */
const STB = { local: 0, weak: 2 } as const;
/** The loader does not require a version with this flag. */
const VERSION_WEAK = 2;

interface Section {
  /** Where its name is in the table of names. */
  readonly name: number;
  readonly type: number;
  readonly offset: number;
  /** Bytes of the file. */
  readonly size: number;
  /** The section with its strings. */
  readonly link: number;
  /** The number of its entries, in tables of versions. */
  readonly entries: number;
}

/** A section's bytes, and the names that its numbers stand for. */
interface Table {
  readonly view: DataView;
  readonly entries: number;
  readonly text: (at: number) => string;
}

function malformed(source: ByteSource, why: string, cause?: unknown): EifError {
  return new EifError("elf_malformed", `Cannot read ${source.name}: ${why}`, { cause });
}

/** A file's header and sections, all of which are there. */
class Sections {
  readonly header: DataView;
  #source: ByteSource;
  #sections: readonly Section[];

  private constructor(source: ByteSource, header: DataView, sections: readonly Section[]) {
    this.#source = source;
    this.header = header;
    this.#sections = sections;
  }

  static async read(source: ByteSource): Promise<Sections> {
    const header = await viewOf(source, { offset: 0, size: Math.min(HEADER_LENGTH, source.size) });
    if (header.byteLength < HEADER_LENGTH || header.getUint32(0) !== 0x7f45_4c46) {
      throw malformed(source, "it is not an ELF file");
    }
    if (header.getUint8(4) !== 2 || header.getUint8(5) !== 1) {
      throw malformed(source, "it is not 64-bit, little-endian");
    }
    const [length, count] = [header.getUint16(58, true), header.getUint16(60, true)];
    if (count === 0 || length !== SECTION_HEADER_LENGTH) {
      throw malformed(source, `it has ${count} section headers of ${length} bytes`);
    }
    const offset = Number(header.getBigUint64(40, true));
    const table = await viewOf(source, { offset, size: count * SECTION_HEADER_LENGTH });
    const sections = Array.from({ length: count }, (_, index) => {
      const begin = index * SECTION_HEADER_LENGTH;
      const type = table.getUint32(begin + 4, true);
      return {
        name: table.getUint32(begin, true),
        type,
        offset: Number(table.getBigUint64(begin + 24, true)),
        size: type === SHT.nobits ? 0 : Number(table.getBigUint64(begin + 32, true)),
        link: table.getUint32(begin + 40, true),
        entries: table.getUint32(begin + 44, true),
      };
    });
    for (const section of sections) requireWhole(source, section);
    return new Sections(source, header, sections);
  }

  /** The table of a kind. */
  async table(kind: number): Promise<Table | undefined> {
    const section = this.#sections.find(({ type }) => type === kind);
    if (section === undefined) return undefined;
    if (section.entries > MAX_VERSIONS && kind !== SHT.dynsym) {
      throw malformed(this.#source, `it claims ${section.entries} versions`);
    }
    const { entries } = section;
    return { view: await viewOf(this.#source, section), entries, text: await this.#strings(section.link) };
  }

  /** The text of a section, a byte each character. */
  async text(name: string): Promise<string | undefined> {
    const nameOf = await this.#strings(this.header.getUint16(62, true));
    const section = this.#sections.find((section) => nameOf(section.name) === name);
    if (section === undefined) return undefined;
    return new TextDecoder("latin1").decode(await viewOf(this.#source, section));
  }

  async #strings(index: number): Promise<(at: number) => string> {
    const section = this.#sections[index];
    if (section === undefined) throw malformed(this.#source, "a table of strings is missing");
    const bytes = new Uint8Array((await viewOf(this.#source, section)).buffer);
    const decoder = new TextDecoder();
    return (at) => {
      const name = bytes.subarray(at, at + MAX_NAME_LENGTH);
      const end = name.indexOf(0);
      if (end < 0) throw malformed(this.#source, "a name does not end");
      return decoder.decode(name.subarray(0, end));
    };
  }
}

function requireWhole(source: ByteSource, { offset, size }: Pick<Section, "offset" | "size">): void {
  if (size === 0 || offset + size <= source.size) return;
  throw malformed(source, `it was cut short: it has ${source.size} of at least ${offset + size} bytes`);
}

async function viewOf(source: ByteSource, part: Pick<Section, "offset" | "size">): Promise<DataView> {
  requireWhole(source, part);
  if (part.size > MAX_TABLE_LENGTH) throw malformed(source, `it has a table of ${part.size} bytes`);
  return new DataView((await readExactly(source, part.offset, part.size)).buffer);
}

/** The dynamic section: numbers by tag. */
function dynamicValues(view: DataView | undefined): ReadonlyMap<bigint, readonly number[]> {
  const values = new Map<bigint, number[]>();
  for (let at = 0; view !== undefined && at + 16 <= view.byteLength; at += 16) {
    const tag = view.getBigUint64(at, true);
    if (tag === DT.null) break;
    const given = values.get(tag) ?? [];
    values.set(tag, given);
    given.push(Number(view.getBigUint64(at + 8, true)));
  }
  return values;
}

/** Elf64_Verneed, a library each, with its chain of Elf64_Vernaux, a version each. */
function neededVersionsOf({ view, entries, text }: Table): readonly NeededVersion[] {
  const found: NeededVersion[] = [];
  let left = MAX_VERSIONS;
  for (let at = 0, entry = 0; entry < entries; entry++) {
    const library = text(view.getUint32(at + 4, true));
    let version = at + view.getUint32(at + 8, true);
    for (let count = view.getUint16(at + 2, true); count > 0; count--) {
      if (left-- === 0) throw new RangeError(`it needs more than ${MAX_VERSIONS} versions`);
      if ((view.getUint16(version + 4, true) & VERSION_WEAK) === 0) {
        found.push({ library, version: text(view.getUint32(version + 8, true)) });
      }
      version += view.getUint32(version + 12, true);
    }
    at += view.getUint32(at + 12, true);
  }
  return found;
}

/** Elf64_Verdef, a version each, with its name in the first Elf64_Verdaux. */
function versionsOf({ view, entries, text }: Table): readonly string[] {
  const found: string[] = [];
  for (let at = 0; found.length < entries;) {
    found.push(text(view.getUint32(at + view.getUint32(at + 12, true), true)));
    at += view.getUint32(at + 16, true);
  }
  return found;
}

function symbolsOf({ view, text }: Table): Pick<ElfFile, "exported" | "undefined"> {
  const exported = new Set<string>();
  const missing: string[] = [];
  // The first entry is not a symbol.
  for (let at = SYMBOL_LENGTH; at + SYMBOL_LENGTH <= view.byteLength; at += SYMBOL_LENGTH) {
    const binding = view.getUint8(at + 4) >> 4;
    const name = text(view.getUint32(at, true));
    if (binding === STB.local || name === "") continue;
    if (view.getUint16(at + 6, true) !== 0) exported.add(name);
    else if (binding !== STB.weak) missing.push(name);
  }
  return { exported, undefined: missing };
}

async function read(source: ByteSource): Promise<ElfFile> {
  const sections = await Sections.read(source);
  const machine = sections.header.getUint16(18, true);
  const architecture = MACHINES[machine];
  if (architecture === undefined) throw malformed(source, `it is for machine ${machine}, no enclave's`);
  const interpreter = (await sections.text(".interp"))?.replace(/\0$/, "");
  if (interpreter !== undefined && !isPlainPath(interpreter)) {
    throw malformed(source, `its interpreter is ${JSON.stringify(interpreter)}`);
  }
  const dynamic = await sections.table(SHT.dynamic);
  const values = dynamicValues(dynamic?.view);
  const texts = (tag: bigint) => (values.get(tag) ?? []).map((at) => dynamic?.text(at) ?? "");
  const [needed, versions, symbols] = [
    await sections.table(SHT.verneed),
    await sections.table(SHT.verdef),
    await sections.table(SHT.dynsym),
  ];
  return {
    architecture,
    relocatable: sections.header.getUint16(16, true) === ET_REL,
    interpreter,
    soname: texts(DT.soname)[0],
    needed: texts(DT.needed),
    runPath: (texts(DT.runpath)[0] ?? texts(DT.rpath)[0] ?? "").split(":").filter(Boolean),
    neededVersions: needed === undefined ? [] : neededVersionsOf(needed),
    versions: versions === undefined ? [] : versionsOf(versions),
    ...symbols === undefined ? { exported: new Set<string>(), undefined: [] } : symbolsOf(symbols),
    moduleInfo: await sections.text(".modinfo"),
  };
}

/**
 * Reads an ELF file.
 *
 * @throws {EifError} `elf_malformed`, `eif_unreadable`.
 */
export async function readElf(source: ByteSource): Promise<ElfFile> {
  try {
    return await read(source);
  } catch (thrown) {
    // A view throws it for a place beyond its end.
    if (thrown instanceof RangeError) throw malformed(source, messageOf(thrown), thrown);
    throw thrown;
  }
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
