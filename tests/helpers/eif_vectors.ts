/**
 * Images that AWS's `eif_build` made, from outside this repository; undefined if they are missing, which is
 * reported.
 *
 * @module
 */
import { readVectors } from "./vectors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** An image, what it was made of, and its measurements. */
export interface EifVector {
  readonly name: string;
  readonly image: Bytes;
  readonly kernel: Bytes;
  readonly ramdisks: readonly Bytes[];
  readonly metadata: Bytes;
  /** `HashAlgorithm` beside the PCRs, as the tool prints them. */
  readonly measurements: Readonly<Record<string, string>>;
}

const INPUTS = [
  { name: "v1-one-ramdisk-empty-cmdline", kernel: "kernel-a", ramdisks: ["ramdisk-0"] },
  { name: "v2-two-ramdisks", kernel: "kernel-b", ramdisks: ["ramdisk-0", "ramdisk-1"] },
];

/** Reads them, if they are there. */
export function eifVectors(): readonly EifVector[] | undefined {
  return readVectors("the images that eif_build made", (file) =>
    INPUTS.map(({ name, kernel, ramdisks }) => ({
      name,
      image: file(`eif/${name}.eif`),
      kernel: file(`eif/in/${kernel}`),
      ramdisks: ramdisks.map((ramdisk) => file(`eif/in/${ramdisk}`)),
      metadata: file(`eif/${name}.metadata.json`),
      measurements: JSON.parse(new TextDecoder().decode(file(`eif/${name}.json`))),
    })));
}
