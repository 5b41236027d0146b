/**
 * Builds the tests' peer of the image format, which links AWS's crate, in the user's cache, with a link in `tests/native/build/`. Where there is no
 * cargo, or no registry of crates, it says so, and the tests that need it say that they were skipped.
 *
 * @module
 */
import { buildOnce, linkTo, runBuild } from "./build_cache.ts";

const PEER = "tests/native/eif_peer";
const PROGRAM = "tests/native/build/eif_peer";

const sources = [...Deno.readDirSync(`${PEER}/src`)].map(({ name }) => `${PEER}/src/${name}`).sort();
const built = await buildOnce({
  name: "eif-peer",
  inputs: [`${PEER}/Cargo.toml`, `${PEER}/Cargo.lock`, ...sources],
  tool: "rustc",
  says: "Building the peer of the image format (once, about 40 s)",
  build: async (folder) => {
    const target = `${folder}/target`;
    const problem = await runBuild("cargo", [
      "build",
      "--release",
      "--locked",
      "--quiet",
      "--manifest-path",
      `${PEER}/Cargo.toml`,
      "--target-dir",
      target,
    ]);
    if (problem !== undefined) return problem;
    await Deno.copyFile(`${target}/release/eif_peer`, `${folder}/eif_peer`);
    await Deno.remove(target, { recursive: true });
    return undefined;
  },
});
if ("folder" in built) await linkTo(`${built.folder}/eif_peer`, PROGRAM);
else {
  // A peer built from other sources must not be used.
  await Deno.remove(PROGRAM, { recursive: true }).catch(() => {});
  console.error(`Could not build it; the tests that need it are skipped. ${built.problem}`);
}
