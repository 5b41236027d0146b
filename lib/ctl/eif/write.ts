/**
 * Writes an image, reading each of its parts once. The same parts give the same bytes, but for a signature, which is made with fresh random numbers.
 *
 * Needs read and write permission for files.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { messageOf } from "../../shared/errors.ts";
import { EifError } from "./errors.ts";
import {
  type Architecture,
  CRC_OFFSET,
  DEFAULT_CPUS,
  DEFAULT_MEMORY,
  EIF_VERSION,
  encodeHeader,
  encodeSectionHeader,
  flagsOf,
  HEADER_LENGTH,
  MAX_SECTIONS,
  type SectionPlace,
  type SectionType,
} from "./format.ts";
import { measureCertificate, type Measurements, Measurer } from "./measure.ts";
import { type EifMetadata, encodeMetadata, MAX_METADATA_LENGTH } from "./metadata.ts";
import { MAX_CMDLINE_LENGTH } from "./read.ts";
import { type EifSigner, MAX_SIGNATURE_LENGTH, signMeasurements } from "./signature.ts";
import { type ByteSource, bytesSource, type OnProgress, piecesOf } from "./source.ts";

/** Of the CRC, bits reversed. */
const POLYNOMIAL = 0xedb8_8320;

/** Where an image goes. */
interface ByteSink {
  /** Writes all of it, after what was written last. The caller may reuse the bytes afterwards. */
  append(bytes: Uint8Array): Promise<void>;
  /** Writes over the file's first bytes. Called once, last. */
  overwriteBegin(bytes: Uint8Array): Promise<void>;
}

/** What an image is made of. */
export interface EifParts {
  readonly architecture: Architecture;
  readonly kernel: ByteSource;
  readonly commandLine: string;
  /** One at least: the first one boots, the others hold the program. */
  readonly ramdisks: readonly ByteSource[];
  readonly metadata: EifMetadata;
  readonly signer?: EifSigner | undefined;
}

/** What was written. */
export interface WrittenEif {
  readonly size: number;
  readonly crc: number;
  readonly measurements: Measurements;
}

/** Bytes that an image will have, without its signature: for a progress line. */
export function expectedSize({ kernel, ramdisks }: EifParts): number {
  return ramdisks.reduce((size, ramdisk) => size + ramdisk.size, HEADER_LENGTH + kernel.size);
}

function checkParts(parts: EifParts, commandLine: Uint8Array, metadata: Uint8Array): void {
  const refuse = (why: string) => new EifError("eif_input", `Cannot make an image: ${why}`);
  const count = 3 + parts.ramdisks.length + (parts.signer === undefined ? 0 : 1);
  if (parts.ramdisks.length === 0) throw refuse("it has no ramdisk");
  if (count > MAX_SECTIONS) throw refuse(`${count} sections, where ${MAX_SECTIONS} are the most`);
  if (parts.commandLine.includes("\0")) throw refuse("a NUL in the command line");
  if (commandLine.length > MAX_CMDLINE_LENGTH) throw refuse(`a command line of ${commandLine.length} bytes`);
  if (metadata.length > MAX_METADATA_LENGTH) throw refuse(`metadata of ${metadata.length} bytes`);
}

/**
 * Writes an image.
 *
 * @param onProgress is told how many bytes of the image are done
 * @throws {EifError} `eif_input`, `eif_unreadable`.
 */
export async function writeEif(
  sink: ByteSink,
  parts: EifParts,
  onProgress: OnProgress = () => {},
): Promise<WrittenEif> {
  const commandLine = new TextEncoder().encode(parts.commandLine);
  const metadata = encodeMetadata(parts.metadata);
  checkParts(parts, commandLine, metadata);
  const measurer = new Measurer();
  const places: SectionPlace[] = [];
  let size = HEADER_LENGTH;
  let crc = 0;
  const append = async (bytes: Uint8Array): Promise<void> => {
    crc = crc32(bytes, crc);
    size += bytes.length;
    await sink.append(bytes);
  };
  const section = async (type: SectionType, source: ByteSource): Promise<void> => {
    places.push({ offset: BigInt(size), size: BigInt(source.size) });
    measurer.begin(type);
    await append(encodeSectionHeader(type, BigInt(source.size)));
    for await (const piece of piecesOf(source)) {
      measurer.update(type, piece);
      await append(piece);
      onProgress(size);
    }
  };
  await sink.append(new Uint8Array(HEADER_LENGTH));
  await section("kernel", parts.kernel);
  await section("cmdline", bytesSource(commandLine, "command line"));
  await section("metadata", bytesSource(metadata, "metadata"));
  for (const ramdisk of parts.ramdisks) await section("ramdisk", ramdisk);
  let measurements = measurer.finish();
  if (parts.signer !== undefined) {
    const signature = await signMeasurements(measurements, parts.signer);
    if (signature.length > MAX_SIGNATURE_LENGTH) {
      throw new EifError("eif_signature", "The signing certificate's file is too large");
    }
    measurements = { ...measurements, PCR8: measureCertificate(parts.signer.certificate.der) };
    await section("signature", bytesSource(signature, "signature"));
  }
  const header = encodeHeader({
    version: EIF_VERSION,
    flags: flagsOf(parts.architecture),
    defaultMemory: DEFAULT_MEMORY,
    defaultCpus: DEFAULT_CPUS,
    sections: places,
    crc: 0,
  });
  crc = combineCrc(crc32(header.subarray(0, CRC_OFFSET)), crc, size - HEADER_LENGTH);
  new DataView(header.buffer).setUint32(CRC_OFFSET, crc);
  await sink.overwriteBegin(header);
  return { size, crc, measurements };
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/**
 * Writes an image's file. It appears only when it is complete: until then it has a temporary name in the same folder.
 *
 * @throws {EifError} as {@link writeEif}.
 */
export async function writeEifFile(
  path: string,
  parts: EifParts,
  onProgress?: OnProgress,
): Promise<WrittenEif> {
  const partial = `${path}.${crypto.randomUUID()}.partial`;
  try {
    let written: WrittenEif;
    {
      using file = await Deno.open(partial, { write: true, createNew: true });
      written = await writeEif(
        {
          append: (bytes) => writeAll(file, bytes),
          overwriteBegin: async (bytes) => {
            await file.seek(0, Deno.SeekMode.Start);
            await writeAll(file, bytes);
          },
        },
        parts,
        onProgress,
      );
    }
    await Deno.rename(partial, path);
    return written;
  } catch (thrown) {
    await Deno.remove(partial).catch(() => {});
    if (thrown instanceof EifError || thrown instanceof TypeError || thrown instanceof RangeError) {
      throw thrown;
    }
    throw new EifError("eif_unreadable", `Cannot write ${path}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/** The product of two polynomials modulo the CRC's, bits reversed. */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product >>> 0;
}

/**
 * The CRC-32 (IEEE 802.3, as in zlib) of a ‖ b: the header contains the sections' sizes, so its CRC is known last.
 *
 * @param length bytes of b
 */
function combineCrc(a: number, b: number, length: number): number {
  let power = 0x8000_0000; // 1
  let square = 0x0080_0000; // x^8: one byte
  for (let left = length; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = multiply(power, square);
    square = multiply(square, square);
  }
  return (multiply(power, a) ^ b) >>> 0;
}
