/**
 * Builds real AWS-LC, from crates.io, as a library with the plain names of its AEAD functions: `tests/native/build/libaws_lc_plain.so`. Where there is
 * no cargo or no C compiler, it says so, and the tests that need it say that they were skipped.
 *
 * @module
 */
import { cargoBuild } from "./cargo.ts";

const problem = await cargoBuild({
  folder: "tests/native/aws_lc",
  artifact: "libaws_lc_plain.so",
  output: "tests/native/build/libaws_lc_plain.so",
  what: "AWS-LC (once, about a minute)",
});
if (problem !== undefined) {
  console.error(`Could not build AWS-LC; the tests that need it are skipped. ${problem}`);
}
