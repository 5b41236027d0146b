/**
 * Builds the tests' peer of the image format, which links AWS's crate, into `tests/native/build/`. Where there is no cargo, or no registry of
 * crates, it says so, and the tests that need it say that they were skipped.
 *
 * @module
 */
const PEER = "tests/native/eif_peer";
const TARGET = "tests/native/build/eif_peer";
const BUILD_MS = 600_000;

async function build(): Promise<string | undefined> {
  try {
    const { success, stderr } = await new Deno.Command("cargo", {
      args: [
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--manifest-path",
        `${PEER}/Cargo.toml`,
        "--target-dir",
        TARGET,
      ],
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(BUILD_MS),
    }).output();
    return success ? undefined : new TextDecoder().decode(stderr).trim().split("\n").slice(-5).join("\n");
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}

const isBuilt = await Deno.stat(`${TARGET}/release/eif_peer`).then(() => true, () => false);
if (!isBuilt) console.error("Building the peer of the image format (once, about 40 s)");
const problem = await build();
if (problem !== undefined) {
  // One of other sources would prove nothing.
  await Deno.remove(`${TARGET}/release/eif_peer`).catch(() => {});
  console.error(`Could not build it; the tests that need it are skipped. ${problem}`);
}
