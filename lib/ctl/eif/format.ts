/**
 * The Enclave Image Format's header and section headers as bytes: all integers big-endian. As found in AWS's aws-nitro-enclaves-image-format,
 * `src/defs/mod.rs`.
 *
 * @module
 */
import { EifError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The version that is written. */
export const EIF_VERSION = 4;
/** Version 2 has the CRC, 3 the signature, 4 the metadata. */
const OLDEST_VERSION = 2;
/** Slots for sections in the header. */
export const MAX_SECTIONS = 32;
/** Bytes of the image's header. */
export const HEADER_LENGTH = 548;
/** Bytes of a section's header. */
export const SECTION_HEADER_LENGTH = 12;
/** Where the header's CRC-32 is: its last four bytes, the only ones that it does not cover. */
export const CRC_OFFSET = 544;
/** What AWS's tools write; nitro-cli asks for memory and CPUs by itself. */
export const DEFAULT_MEMORY = 2n ** 30n;
/** As {@link DEFAULT_MEMORY}. */
export const DEFAULT_CPUS = 2n;

const MAGIC = 0x2e656966; // .eif
const AARCH64_FLAG = 1;
const OFFSETS_AT = 28;
const SIZES_AT = OFFSETS_AT + 8 * MAX_SECTIONS;

/** The machines that have enclaves, as `uname -m` calls them. */
export const ARCHITECTURES = ["x86_64", "aarch64"] as const;
/** One of {@link ARCHITECTURES}. */
export type Architecture = typeof ARCHITECTURES[number];

/** Kinds of sections, by their number in the file. */
const SECTION_TYPES = {
  kernel: 1,
  cmdline: 2,
  ramdisk: 3,
  signature: 4,
  metadata: 5,
} as const;
/** A kind of section. */
export type SectionType = keyof typeof SECTION_TYPES;

/** Where a section is. */
export interface SectionPlace {
  /** Of its header, from the file's begin. */
  readonly offset: bigint;
  /** Of its data, without the header. */
  readonly size: bigint;
}

/** The image's header. Sizes are as the file has them: nothing is checked against its length yet. */
interface EifHeader {
  readonly version: number;
  /** Bit 0: aarch64. */
  readonly flags: number;
  /** Bytes. */
  readonly defaultMemory: bigint;
  readonly defaultCpus: bigint;
  readonly sections: readonly SectionPlace[];
  readonly crc: number;
}

/** The flags of an architecture. */
export function flagsOf(architecture: Architecture): number {
  return architecture === "aarch64" ? AARCH64_FLAG : 0;
}

/** The architecture that flags stand for. */
export function architectureOf(flags: number): Architecture {
  return (flags & AARCH64_FLAG) === 0 ? "x86_64" : "aarch64";
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Reads the header.
 *
 * @param bytes {@link HEADER_LENGTH} of them
 * @param name of the file, for the message
 * @throws {EifError} `eif_magic`, `eif_version`, `eif_sections`.
 */
export function decodeHeader(bytes: Uint8Array, name: string): EifHeader {
  const view = viewOf(bytes);
  if (bytes.length < 4 || view.getUint32(0) !== MAGIC) {
    throw new EifError("eif_magic", `${name} is not an enclave image`);
  }
  if (bytes.length < HEADER_LENGTH) {
    throw new EifError("eif_truncated", `${name} ends within the header, after ${bytes.length} bytes`);
  }
  const version = view.getUint16(4);
  if (version < OLDEST_VERSION || version > EIF_VERSION) {
    throw new EifError("eif_version", `${name} is of version ${version} of the format`);
  }
  const count = view.getUint16(26);
  if (count > MAX_SECTIONS) {
    throw new EifError(
      "eif_sections",
      `${name} claims ${count} sections, where ${MAX_SECTIONS} are the most`,
    );
  }
  return {
    version,
    flags: view.getUint16(6),
    defaultMemory: view.getBigUint64(8),
    defaultCpus: view.getBigUint64(16),
    sections: Array.from({ length: count }, (_, index) => ({
      offset: view.getBigUint64(OFFSETS_AT + 8 * index),
      size: view.getBigUint64(SIZES_AT + 8 * index),
    })),
    crc: view.getUint32(CRC_OFFSET),
  };
}

/** Writes the header. @throws {RangeError} on more sections than there are slots. */
export function encodeHeader(header: EifHeader): Bytes {
  if (header.sections.length > MAX_SECTIONS) throw new RangeError(`More than ${MAX_SECTIONS} sections`);
  const bytes = new Uint8Array(HEADER_LENGTH);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC);
  view.setUint16(4, header.version);
  view.setUint16(6, header.flags);
  view.setBigUint64(8, header.defaultMemory);
  view.setBigUint64(16, header.defaultCpus);
  view.setUint16(26, header.sections.length);
  for (const [index, { offset, size }] of header.sections.entries()) {
    view.setBigUint64(OFFSETS_AT + 8 * index, offset);
    view.setBigUint64(SIZES_AT + 8 * index, size);
  }
  view.setUint32(CRC_OFFSET, header.crc);
  return bytes;
}

/**
 * Reads a section's header.
 *
 * @param where for the message, such as `a.eif: section 2`
 * @throws {EifError} `eif_sections` when its kind is not known.
 */
export function decodeSectionHeader(
  bytes: Uint8Array,
  where: string,
): { readonly type: SectionType; readonly size: bigint } {
  const view = viewOf(bytes);
  const number = view.getUint16(0);
  for (const [type, known] of Object.entries(SECTION_TYPES)) {
    if (known === number) return { type: type as SectionType, size: view.getBigUint64(4) };
  }
  throw new EifError("eif_sections", `${where} is of unknown kind ${number}`);
}

/** Writes a section's header. */
export function encodeSectionHeader(type: SectionType, size: bigint): Bytes {
  const bytes = new Uint8Array(SECTION_HEADER_LENGTH);
  const view = viewOf(bytes);
  view.setUint16(0, SECTION_TYPES[type]);
  view.setBigUint64(4, size);
  return bytes;
}
