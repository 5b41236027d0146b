/**
 * Checks that an image of any program can start: a valid kernel, boot files for the same machine, no functions missing from its libraries.
 *
 * @module
 */
import { readElf, readElfSymbols } from "./elf.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import type { LoadedFile, OpenFile } from "./loader.ts";
import { type ByteSource, readExactly } from "./source.ts";

/**
 * The machine that a kernel is for, where its first bytes say so: x86's boot protocol (0xAA55 at 0x1fe, `HdrS` at 0x202), or arm64's image header
 * (`ARM\x64` at 56).
 */
export async function kernelArchitecture(kernel: ByteSource): Promise<Architecture | undefined> {
  const bytes = await readExactly(kernel, 0, Math.min(1024, kernel.size));
  const textAt = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (textAt(0x202) === "HdrS" && bytes[0x1fe] === 0x55 && bytes[0x1ff] === 0xaa) return "x86_64";
  return textAt(56) === "ARM\x64" ? "aarch64" : undefined;
}

/**
 * Checks that a file is a kernel that an enclave can boot.
 *
 * @param architecture the image's; undefined for any
 * @throws {EifError} `eif_input`.
 */
export async function checkKernel(kernel: ByteSource, architecture?: Architecture): Promise<void> {
  const found = await kernelArchitecture(kernel);
  if (found !== undefined && found === (architecture ?? found)) return;
  throw new EifError(
    "eif_input",
    `${kernel.name} is ${found === undefined ? "not a kernel" : `a kernel for ${found}`}`,
    {
      hint:
        "Give a bzImage for x86_64, or an uncompressed Image for aarch64. --allow-kernel accepts the file as it is.",
    },
  );
}

/**
 * Checks that the init program or a driver can run: it must be for the same machine; init must not need a loader, which the first ramdisk does not have; a
 * driver must be a kernel module.
 *
 * @throws {EifError} `eif_input`.
 */
export async function checkBootFile(
  file: ByteSource,
  kind: "init" | "nsm.ko",
  architecture: Architecture,
): Promise<void> {
  const refuse = (why: string, cause?: unknown) =>
    new EifError("eif_input", `Cannot use ${file.name} as ${kind}: ${why}`, {
      hint: `Take ${kind} for ${architecture} from the same folder of AWS's blobs as the kernel.`,
      cause,
    });
  let elf;
  try {
    elf = await readElf(file);
  } catch (thrown) {
    throw refuse("it is not an ELF file for an enclave", thrown);
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
}

/** The files that a file needs, itself first: where `dlsym` looks for its functions. */
export function closureOf(path: string, loaded: readonly LoadedFile[]): readonly LoadedFile[] {
  const paths = new Set([path]);
  // Iterating over a Set includes entries added during the iteration.
  for (const next of paths) {
    for (const needed of loaded.find((file) => file.path === next)?.needs.values() ?? []) paths.add(needed);
  }
  return [...paths].flatMap((one) => loaded.find((file) => file.path === one) ?? []);
}

/**
 * Functions and variables that a library needs and that neither its own libraries, nor the program and its libraries, export.
 *
 * @param program its path; undefined where it is not known
 */
export async function missingSymbols(
  path: string,
  { loaded, program }: { readonly loaded: readonly LoadedFile[]; readonly program?: string | undefined },
  open: OpenFile,
): Promise<readonly string[]> {
  const scope = [...closureOf(path, loaded), ...program === undefined ? [] : closureOf(program, loaded)];
  const given = new Set<string>();
  let needed: readonly string[] = [];
  for (const file of new Set(scope)) {
    const symbols = await readElfSymbols(await open(file.from));
    for (const name of symbols.exported) given.add(name);
    if (file.path === path) needed = symbols.undefined;
  }
  return needed.filter((name) => !given.has(name));
}
