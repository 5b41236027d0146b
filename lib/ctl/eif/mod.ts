/**
 * Enclave images: read, measure, verify and write them on any machine, without nitro-cli.
 *
 * @module
 */
export { type EifCode, EifError } from "./errors.ts";
export { type Architecture, ARCHITECTURES, type SectionType } from "./format.ts";
export {
  buildEif,
  type BuildInput,
  type BuildPlan,
  type BuiltEif,
  type Compression,
  COMPRESSIONS,
  hashFile,
  type KernelPlan,
  type ProgramPlan,
} from "./build.ts";
export {
  CA_BUNDLE_PATH,
  collectRoot,
  hiddenBy,
  MOUNT_POINTS,
  type Root,
  type RootFile,
  type RootOptions,
} from "./rootfs.ts";
export { type ElfFile, readElf } from "./elf.ts";
export { compareVersions, type LoadedFile, loadFiles, type OpenFile, Sysroot } from "./loader.ts";
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
export type { Measurements } from "./measure.ts";
export type { BuildMetadata, EifMetadata, Json } from "./metadata.ts";
export { checkEif, describeEif, type EifDescription, nitroCliShape, readEif } from "./read.ts";
export type { CertificateInfo, SigningCertificate } from "./certificate.ts";
export { type EifSigner, openSigner } from "./signature.ts";
export {
  type ByteSource,
  bytesSource,
  concatSources,
  FileSource,
  type HashedSource,
  hashSource,
  type OnProgress,
  OpenFiles,
  textPieces,
} from "./source.ts";
export { type EifParts, writeEif, writeEifFile } from "./write.ts";
