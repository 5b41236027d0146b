/**
 * Errors from reading, making or checking an enclave's image.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";

/** What was wrong. */
type EifCode =
  | "eif_unreadable" // the file is not there, is no file, changed while it was read, or cannot be written
  | "eif_magic" // not an image
  | "eif_version" // an image of a version that is not known
  | "eif_truncated" // the file ends before the image does
  | "eif_layout" // sections that overlap, leave gaps, or are not where the header says
  | "eif_sections" // a kind or an order of sections that no enclave boots from
  | "eif_too_large" // a part that has to be held in memory is larger than any real one
  | "eif_metadata" // the metadata section is invalid
  | "eif_signature" // the signature section is invalid, or the signing key and its certificate do not belong together
  | "eif_input" // an input of the image cannot be used
  | "elf_malformed" // a file is not an ELF file that this machine could load
  | "library_missing" // a library that a file needs was not found
  | "library_version" // a library is older than a file that needs it
  | "symbol_missing" // a library lacks a function
  | "image_dead" // the program would not start in the image, or could not do its work
  | "blob_missing"; // kernel, init or NSM driver are not there

const HINTS: Readonly<Record<EifCode, string | undefined>> = {
  eif_unreadable: undefined,
  eif_magic: "Give an image made by nitro-cli build-enclave or denclavectl eif build: it begins with .eif.",
  eif_version: "Versions 2 to 4 are supported: rebuild the image with a current tool.",
  eif_truncated: "Copy the image again: a part of it is missing.",
  eif_layout:
    "Do not run this image: what is measured and what is booted could differ. Build or copy it again.",
  eif_sections: "An image has one kernel, then one command line, then ramdisks: build it again.",
  eif_too_large: "Build the image again: this section is larger than in any valid image.",
  eif_metadata: "Build the image again: its metadata are not what nitro-cli writes.",
  eif_signature:
    "Sign with a key on P-256, P-384 or P-521 and that key's certificate (PEM), which must be valid today.",
  eif_input: undefined,
  elf_malformed: "Give an ELF file for 64-bit Linux, x86-64 or aarch64.",
  library_missing:
    "Install the package that has it, or name the folder of another distribution's files with --sysroot.",
  library_version: undefined,
  symbol_missing: undefined,
  image_dead: undefined,
  blob_missing:
    "Install aws-nitro-enclaves-cli-devel, or take the files from blobs/ of github.com/aws/aws-nitro-enclaves-cli, and name their folder with --blobs.",
};

/** An image cannot be read, made or trusted; `code` says why. */
export class EifError extends EnclaveError {
  override name = "EifError";
  /** What was wrong. */
  declare readonly code: EifCode;

  /**
   * Of one input.
   *
   * @param message says what was found, in which file
   */
  constructor(
    code: EifCode,
    message: string,
    options: { readonly hint?: string | undefined; readonly cause?: unknown } = {},
  ) {
    super(message, { code, hint: options.hint ?? HINTS[code], cause: options.cause });
  }
}
