/**
 * Checks that an image of any program can start: a kernel that is whole, boot files for the same machine and
 * kernel, a command line that a kernel takes, no functions missing from its libraries.
 *
 * @module
 */
import { type ElfFile, readElf, withoutDetours } from "./elf.ts";
import { messageOf } from "../../shared/errors.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import type { LoadedFile } from "./loader.ts";
import type { RootFile } from "./rootfs.ts";
import { type ByteSource, readExactly, textPieces } from "./source.ts";

/** Bytes of a kernel's file that have the headers. */
const KERNEL_HEAD_LENGTH = 1024;
/** No kernel's version is longer. */
const MAX_VERSION_LENGTH = 256;
/** COMMAND_LINE_SIZE of x86-64 and arm64, without the NUL at its end. */
const MAX_COMMAND_LINE_LENGTH = 2047;

/** What a kernel's first bytes say. */
interface KernelHead {
  readonly architecture: Architecture;
  /** Bytes that the whole file has at least; undefined where they do not say. */
  readonly length: number | undefined;
}

async function viewAt(source: ByteSource, at: number, length: number): Promise<DataView> {
  const left = Math.max(0, Math.min(length, source.size - at));
  return new DataView((await readExactly(source, at, left)).buffer);
}

function textOf({ buffer }: DataView, at: number, length?: number): string {
  return new TextDecoder("latin1").decode(new Uint8Array(buffer).subarray(at, length && at + length));
}

/** Where the last section of a PE file ends; undefined when it is not one. */
function peLength(head: DataView): number | undefined {
  const at = head.byteLength < KERNEL_HEAD_LENGTH ? 0 : head.getUint32(0x3c, true);
  if (at === 0 || at + 24 > head.byteLength || textOf(head, at, 4) !== "PE\0\0") return undefined;
  const [count, first] = [head.getUint16(at + 6, true), at + 24 + head.getUint16(at + 20, true)];
  if (first + 40 * count > head.byteLength) return undefined;
  const ends = Array.from({ length: count }, (_, index) => {
    const section = first + 40 * index;
    return head.getUint32(section + 16, true) + head.getUint32(section + 20, true);
  });
  return Math.max(0, ...ends);
}

/**
 * The machine that a kernel is for, where its first bytes say so: x86's boot protocol (0xAA55 at 0x1fe,
 * `HdrS` at 0x202), or arm64's image header (`ARM\x64` at 56). The protocol has the length of the file; of
 * arm64 kernels, those that EFI can start have it.
 */
export async function kernelHead(kernel: ByteSource): Promise<KernelHead | undefined> {
  const head = await viewAt(kernel, 0, KERNEL_HEAD_LENGTH);
  if (textOf(head, 0x202, 4) === "HdrS" && head.getUint16(0x1fe, true) === 0xaa55) {
    const setupSectors = head.getUint8(0x1f1) || 4;
    return { architecture: "x86_64", length: (setupSectors + 1) * 512 + head.getUint32(0x1f4, true) * 16 };
  }
  if (textOf(head, 56, 4) !== "ARM\x64") return undefined;
  return { architecture: "aarch64", length: peLength(head) };
}

/**
 * A kernel's version: in the header on x86; on arm64, which has none there, in the text that the kernel
 * prints first.
 */
async function kernelVersion(kernel: ByteSource): Promise<string | undefined> {
  if ((await kernelHead(kernel))?.architecture === "x86_64") {
    const offset = (await viewAt(kernel, 0x20e, 2)).getUint16(0, true);
    const text = offset === 0 ? "" : textOf(await viewAt(kernel, 0x200 + offset, MAX_VERSION_LENGTH), 0);
    return /^[^ \0]+/.exec(text)?.[0];
  }
  for await (const text of textPieces(kernel, MAX_VERSION_LENGTH)) {
    const [, version] = /Linux version ([^ \0]{1,64}) \(/.exec(text) ?? [];
    if (version !== undefined) return version;
  }
  return undefined;
}

/**
 * Checks that a file is a kernel that an enclave can boot, and was not cut short.
 *
 * @param architecture the image's; undefined for any
 * @throws {EifError} `eif_input`.
 */
export async function checkKernel(kernel: ByteSource, architecture?: Architecture): Promise<void> {
  const found = await kernelHead(kernel);
  const refuse = (why: string, hint: string) =>
    new EifError("eif_input", `${kernel.name} ${why}`, {
      hint: `${hint} --allow-kernel accepts the file as it is.`,
    });
  if (found === undefined || found.architecture !== (architecture ?? found.architecture)) {
    throw refuse(
      found === undefined ? "is not a kernel" : `is a kernel for ${found.architecture}`,
      "Give a bzImage for x86_64, or an uncompressed Image for aarch64.",
    );
  }
  if (kernel.size < (found.length ?? 0)) {
    throw refuse(
      `was cut short: it has ${kernel.size} of at least ${found.length} bytes`,
      "Copy the kernel again.",
    );
  }
}

/** The version of the kernel that a driver is for: `vermagic` of its `.modinfo`. */
function driverVersion({ moduleInfo = "" }: ElfFile): string | undefined {
  return /(?:^|\0)vermagic=([^ \0]+)/.exec(moduleInfo)?.[1];
}

/**
 * Checks that a driver is of a kernel's version: the kernel refuses another one, and init ends.
 *
 * @returns whether the kernel says its version; if not, nothing was compared
 * @throws {EifError} `eif_input`.
 */
export async function checkDriver(driver: ByteSource, kernel: ByteSource): Promise<boolean> {
  const [wanted, found] = [driverVersion(await readElf(driver)), await kernelVersion(kernel)];
  if (found === undefined || found === wanted) return found !== undefined;
  throw new EifError("eif_input", `${driver.name} is for kernel ${wanted}, and ${kernel.name} is ${found}`, {
    hint: "Take both from the same folder of AWS's blobs. --allow-kernel accepts the files as they are.",
  });
}

/** Checks that a kernel takes a command line. @throws {EifError} `eif_input`. */
export function checkCommandLine(commandLine: string): void {
  const { length } = new TextEncoder().encode(commandLine);
  if (commandLine.trim() !== "" && length <= MAX_COMMAND_LINE_LENGTH) return;
  throw new EifError(
    "eif_input",
    length > MAX_COMMAND_LINE_LENGTH
      ? `The kernel command line has ${length} bytes, and kernels take ${MAX_COMMAND_LINE_LENGTH}`
      : "The kernel command line is empty",
    { hint: "Use the file cmdline of AWS's blobs, or give --cmdline." },
  );
}

/**
 * Checks that the image has the CA certificates that SSL_CERT_FILE names. @throws {EifError} `image_dead`.
 */
export function checkCertificateFile(
  { SSL_CERT_FILE }: Readonly<Record<string, string>>,
  files: readonly RootFile[],
): void {
  if (SSL_CERT_FILE === undefined) return;
  if (files.some(({ path }) => path === withoutDetours(SSL_CERT_FILE))) return;
  throw new EifError(
    "image_dead",
    `SSL_CERT_FILE is ${JSON.stringify(SSL_CERT_FILE)}, and the image has no such file`,
    { hint: `Leave it out: --ca-bundle sets it. Or add the file: --file ${SSL_CERT_FILE || "PATH"}=FILE.` },
  );
}

/**
 * Checks that the init program or a driver can run: it must be whole and for the same machine; init must not
 * need a loader, which the first ramdisk does not have; a driver must be a kernel module, with the
 * information that the kernel reads.
 *
 * @throws {EifError} `eif_input`.
 */
export async function checkBootFile(
  file: ByteSource,
  kind: "init" | "nsm.ko",
  architecture: Architecture,
): Promise<void> {
  const hint = `Take ${kind} for ${architecture} from the same folder of AWS's blobs as the kernel.`;
  const refuse = (why: string) =>
    new EifError("eif_input", `Cannot use ${file.name} as ${kind}: ${why}`, { hint });
  let elf;
  try {
    elf = await readElf(file);
  } catch (thrown) {
    throw new EifError("eif_input", messageOf(thrown), { hint, cause: thrown });
  }
  if (elf.architecture !== architecture) {
    throw refuse(`it is for ${elf.architecture}, and the image for ${architecture}`);
  }
  if (elf.relocatable !== (kind === "nsm.ko")) {
    throw refuse(kind === "nsm.ko" ? "it is not a kernel module" : "it is not a program");
  }
  if (elf.interpreter !== undefined) {
    throw refuse(`it is linked dynamically, and there is no ${elf.interpreter} where it runs`);
  }
  if (kind === "nsm.ko" && driverVersion(elf) === undefined) {
    throw refuse("it has no .modinfo with a vermagic, so the kernel would not load it");
  }
}

/** The files that a file needs, itself first: where `dlsym` looks for its functions. */
function closureOf(path: string, loaded: readonly LoadedFile[]): readonly LoadedFile[] {
  const paths = new Set([path]);
  // Iterating over a Set includes entries added during the iteration.
  for (const next of paths) {
    for (const needed of loaded.find((file) => file.path === next)?.needs.values() ?? []) paths.add(needed);
  }
  return [...paths].flatMap((one) => loaded.find((file) => file.path === one) ?? []);
}

/** What a file and the files that it needs export. */
export function exportsOf(path: string, loaded: readonly LoadedFile[]): ReadonlySet<string> {
  return new Set(closureOf(path, loaded).flatMap(({ elf }) => [...elf.exported]));
}

/**
 * Functions and variables that a library needs and that neither its own libraries, nor the program and its libraries, export.
 *
 * @param program its path; undefined where it is not known
 */
export function missingSymbols(
  path: string,
  { loaded, program }: { readonly loaded: readonly LoadedFile[]; readonly program?: string | undefined },
): readonly string[] {
  const given = [path, ...program === undefined ? [] : [program]].map((one) => exportsOf(one, loaded));
  const needed = loaded.find((file) => file.path === path)?.elf.undefined ?? [];
  return needed.filter((name) => !given.some((names) => names.has(name)));
}
