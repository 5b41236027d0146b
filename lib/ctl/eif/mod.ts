/**
 * Enclave images: read, measure, verify and write them on any machine, without nitro-cli.
 *
 * @module
 */
export { EifError } from "./errors.ts";
export { type Architecture, ARCHITECTURES } from "./format.ts";
export {
  buildEif,
  type BuildInput,
  type BuildPlan,
  COMPRESSIONS,
  hashFile,
  type ProgramPlan,
} from "./build.ts";
export { CA_BUNDLE_PATH, collectRoot, hiddenBy, type RootFile } from "./rootfs.ts";
export { readElf } from "./elf.ts";
export { compareVersions, type LoadedFile, loadFiles, Sysroot } from "./loader.ts";
export {
  checkBootFile,
  checkCertificateFile,
  checkCommandLine,
  checkDriver,
  checkKernel,
  exportsOf,
  missingSymbols,
} from "./checks.ts";
export {
  parseProgramRecord,
  type ProgramRecord,
  programRecord,
  provenanceOf,
  sourceState,
} from "./provenance.ts";

export type { EifMetadata } from "./metadata.ts";
export { checkEif, describeEif, type EifDescription, nitroCliShape, readEif } from "./read.ts";

export { type EifSigner, openSigner } from "./signature.ts";
export { type ByteSource, bytesSource, FileSource, hashSource, OpenFiles, textPieces } from "./source.ts";
export { type EifParts, writeEif, writeEifFile } from "./write.ts";
