/**
 * The measurements of one build, for a simulated NSM. Separate from `denclavectl`'s reader, so that the development service does not import
 * the AWS SDK.
 *
 * @module
 */
import { UsageError } from "../../shared/cli/options.ts";
import { messageOf } from "../../shared/errors.ts";
import { readMeasurements } from "./measurements.ts";

/**
 * Reads PCRs 0 to 2, and 8 of a signed image, by index: lower-case hex.
 *
 * @param option the name of the option that named the file
 * @throws {UsageError} when the file has no measurements, or those of several images.
 */
export async function readOneBuild(option: string, file: string): Promise<Readonly<Record<number, string>>> {
  try {
    const [build, ...more] = readMeasurements(await Deno.readTextFile(file));
    if (build === undefined || more.length > 0) {
      throw new TypeError("it has the measurements of several images");
    }
    const { pcr0, pcr1, pcr2, pcr8 } = build;
    return { 0: pcr0, 1: pcr1, 2: pcr2, ...(pcr8 === undefined ? {} : { 8: pcr8 }) };
  } catch (thrown) {
    throw new UsageError(
      `Cannot use ${file} for --${option}: ${messageOf(thrown)}`,
      "Give what denclavectl eif describe --json prints of one image.",
    );
  }
}
