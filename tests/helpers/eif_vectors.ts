/**
 * Images that AWS's `eif_build` made, from outside this repository; undefined if they are missing, which is reported.
 *
 * @module
 */
import { skipTests } from "./skip.ts";
const FOLDER = new URL("../../../shared/vectors/eif/", import.meta.url);

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

/** Reads them, if the folder is there. */
export function eifVectors(): readonly EifVector[] | undefined {
  const read = (name: string) => Deno.readFileSync(new URL(name, FOLDER));
  try {
    return INPUTS.map(({ name, kernel, ramdisks }) => ({
      name,
      image: read(`${name}.eif`),
      kernel: read(`in/${kernel}`),
      ramdisks: ramdisks.map((ramdisk) => read(`in/${ramdisk}`)),
      metadata: read(`${name}.metadata.json`),
      measurements: JSON.parse(new TextDecoder().decode(read(`${name}.json`))),
    }));
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    skipTests("the images that eif_build made, since there is no ../shared/vectors/eif");
    return undefined;
  }
}
