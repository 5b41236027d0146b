/**
 * Reads an image once, from start to end: header, sections, measurements, CRC, signature. Memory does not grow with the image.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { validityProblem } from "./certificate.ts";
import { EifError } from "./errors.ts";
import {
  type Architecture,
  architectureOf,
  CRC_OFFSET,
  decodeHeader,
  decodeSectionHeader,
  HEADER_LENGTH,
  SECTION_HEADER_LENGTH,
  type SectionType,
} from "./format.ts";
import { type Measurements, Measurer } from "./measure.ts";
import { decodeMetadata, type EifMetadata, MAX_METADATA_LENGTH } from "./metadata.ts";
import { decodeSignature, type EifSignature, MAX_SIGNATURE_LENGTH } from "./signature.ts";
import { type ByteSource, FileSource, type OnProgress, piecesOf, readExactly } from "./source.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the longest command line that is read; x86-64 kernels take 2048. */
export const MAX_CMDLINE_LENGTH = 64 * 1024;

/** Sections that are held in memory, and how large they may be. */
const HELD: Readonly<Partial<Record<SectionType, number>>> = {
  cmdline: MAX_CMDLINE_LENGTH,
  metadata: MAX_METADATA_LENGTH,
  signature: MAX_SIGNATURE_LENGTH,
};

/** A section, found. */
interface EifSection {
  readonly type: SectionType;
  /** Of its data, from the file's begin. */
  readonly offset: number;
  readonly size: number;
}

/** An image, read whole. */
export interface EifDescription {
  readonly version: number;
  readonly architecture: Architecture;
  /** Bytes. */
  readonly size: number;
  readonly sections: readonly EifSection[];
  readonly commandLine: string;
  readonly measurements: Measurements;
  readonly crc: { readonly stored: number; readonly computed: number; readonly ok: boolean };
  /** Undefined in images before version 4. */
  readonly metadata: EifMetadata | undefined;
  /** Undefined when it is not signed. */
  readonly signature:
    | { readonly certificate: EifSignature["certificate"]; readonly problem: string | undefined }
    | undefined;
}

/** Checks the order of sections. A ramdisk before the command line would be measured in a different order than it is booted. */
function checkOrder(before: readonly EifSection[], type: SectionType, where: string): void {
  const has = (wanted: SectionType) => before.some((section) => section.type === wanted);
  if (type !== "ramdisk" && has(type)) throw new EifError("eif_sections", `${where} is a second ${type}`);
  const first = { kernel: undefined, cmdline: "kernel", ramdisk: "cmdline" } as const;
  const needed = type === "metadata" || type === "signature" ? undefined : first[type];
  if (needed !== undefined && !has(needed)) {
    throw new EifError("eif_sections", `${where} is a ${type}, and no ${needed} comes before it`);
  }
}

/**
 * Reads an image.
 *
 * @throws {EifError} when it is not an image, or not one that an enclave can boot. A wrong CRC or signature is in the result.
 */
export async function readEif(
  source: ByteSource,
  onProgress: OnProgress = () => {},
): Promise<EifDescription> {
  const { name } = source;
  const headerBytes = await readExactly(source, 0, Math.min(HEADER_LENGTH, source.size));
  const header = decodeHeader(headerBytes, name);
  let crc = crc32(headerBytes.subarray(0, CRC_OFFSET));
  const measurer = new Measurer();
  const sections: EifSection[] = [];
  const held = new Map<SectionType, Bytes>();
  let at = HEADER_LENGTH;
  for (const [index, place] of header.sections.entries()) {
    const where = `${name}: section ${index}`;
    if (place.offset !== BigInt(at)) {
      throw new EifError("eif_layout", `${where} should begin at ${at}, and its header says ${place.offset}`);
    }
    if (at + SECTION_HEADER_LENGTH > source.size) {
      throw new EifError("eif_truncated", `${where} begins where the file ends, at ${source.size}`);
    }
    const sectionHeader = await readExactly(source, at, SECTION_HEADER_LENGTH);
    const { type, size: claimed } = decodeSectionHeader(sectionHeader, where);
    // AWS's own tool, when it signs an image again, leaves the old signature's size in the file's header.
    if (claimed !== place.size && type !== "signature") {
      throw new EifError(
        "eif_layout",
        `${where} has ${claimed} bytes by its own header, and ${place.size} by the file's`,
      );
    }
    const offset = at + SECTION_HEADER_LENGTH;
    if (claimed > BigInt(source.size - offset)) {
      throw new EifError(
        "eif_truncated",
        `${where} has ${claimed} bytes by its header, and the file ${source.size - offset} more`,
      );
    }
    const size = Number(claimed);
    checkOrder(sections, type, where);
    const cap = HELD[type];
    if (cap !== undefined && size > cap) {
      throw new EifError(
        "eif_too_large",
        `${where}, a ${type}, has ${size} bytes, where ${cap} are the most`,
      );
    }
    crc = crc32(sectionHeader, crc);
    measurer.begin(type);
    const whole = cap === undefined ? undefined : new Uint8Array(size);
    let done = 0;
    for await (const piece of piecesOf(source, offset, size)) {
      crc = crc32(piece, crc);
      measurer.update(type, piece);
      whole?.set(piece, done);
      done += piece.length;
      onProgress(offset + done);
    }
    if (whole !== undefined) held.set(type, whole);
    sections.push({ type, offset, size });
    at = offset + size;
  }
  if (at !== source.size) {
    throw new EifError("eif_layout", `${name} goes on after its last section, for ${source.size - at} bytes`);
  }
  if (!sections.some(({ type }) => type === "ramdisk")) {
    throw new EifError("eif_sections", `${name} has no ramdisk`);
  }
  const metadata = held.get("metadata");
  if (metadata === undefined && header.version >= 4) {
    throw new EifError(
      "eif_metadata",
      `${name} has no metadata, which version ${header.version} has to have`,
    );
  }
  const signatureBytes = held.get("signature");
  const signature = signatureBytes === undefined ? undefined : decodeSignature(signatureBytes, name);
  const measurements = measurer.finish();
  return {
    version: header.version,
    architecture: architectureOf(header.flags),
    size: source.size,
    sections,
    commandLine: new TextDecoder().decode(held.get("cmdline")),
    measurements: signature === undefined ? measurements : { ...measurements, PCR8: signature.PCR8 },
    crc: { stored: header.crc, computed: crc, ok: header.crc === crc },
    metadata: metadata === undefined ? undefined : decodeMetadata(metadata, name),
    signature: signature === undefined
      ? undefined
      : { certificate: signature.certificate, problem: await signature.check(measurements) },
  };
}

/** Reads an image's file. @throws {EifError} as {@link readEif}, and `eif_unreadable`. */
export async function describeEif(path: string, onProgress?: OnProgress): Promise<EifDescription> {
  using file = await FileSource.open(path);
  return await readEif(file, onProgress);
}

/** One check. */
interface EifCheck {
  readonly name: string;
  readonly problem: string | undefined;
}

/**
 * Checks an image before it is run.
 *
 * @param expected measurements that it must have, such as those of a provenance file
 * @param now the time to check the certificate's validity at
 */
export function checkEif(
  description: EifDescription,
  { expected = {}, now = new Date() }: { readonly expected?: Partial<Measurements>; readonly now?: Date } =
    {},
): readonly EifCheck[] {
  const { crc, signature, measurements } = description;
  const hex = (value: number) => value.toString(16).padStart(8, "0");
  const checks: EifCheck[] = [{
    name: "CRC",
    problem: crc.ok ? undefined : `the header says ${hex(crc.stored)}, the bytes make ${hex(crc.computed)}`,
  }];
  if (signature !== undefined) {
    checks.push(
      { name: "signature", problem: signature.problem },
      { name: "certificate", problem: validityProblem(signature.certificate, now) },
    );
  }
  for (const pcr of ["PCR0", "PCR1", "PCR2", "PCR8"] as const) {
    const wanted = expected[pcr];
    if (wanted === undefined) continue;
    const found = measurements[pcr];
    checks.push({
      name: pcr,
      problem: found === wanted ? undefined : `it is ${found ?? "not there, since the image is not signed"}`,
    });
  }
  return checks;
}

/** An image as `nitro-cli describe-eif` prints it. */
export function nitroCliShape(description: EifDescription): Readonly<Record<string, unknown>> {
  const { metadata, signature, measurements } = description;
  const custom = metadata?.CustomMetadata;
  return {
    EifVersion: description.version,
    Measurements: { HashAlgorithm: "Sha384 { ... }", ...measurements },
    IsSigned: signature !== undefined,
    ...(signature === undefined ? {} : { SigningCertificate: signature.certificate.info }),
    CheckCRC: description.crc.ok,
    ...(signature === undefined ? {} : { SignatureCheck: signature.problem === undefined }),
    ...(metadata === undefined ? {} : {
      ImageName: metadata.ImageName,
      ImageVersion: metadata.ImageVersion,
      Metadata: {
        ...metadata.BuildMetadata,
        DockerInfo: metadata.DockerInfo,
        ...(typeof custom === "object" && !Array.isArray(custom) ? custom : {}),
      },
    }),
  };
}
