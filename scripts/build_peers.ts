/**
 * Installs what the end-to-end tests talk to and npm does not have: moto's server (KMS and DynamoDB), into a venv of its own in the user's cache.
 * Where there is no Python, it says so, and those tests say that they were skipped.
 *
 * @module
 */
import { buildOnce, linkTo, runBuild } from "./build_cache.ts";

const REQUIREMENTS = "tests/peers/requirements.txt";
const VENV = "tests/peers/build/venv";

const built = await buildOnce({
  name: "peers",
  inputs: [REQUIREMENTS],
  tool: "python3",
  says: "Installing moto's server and what else the end-to-end tests want of Python (once, about 15 s)",
  build: async (folder) =>
    await runBuild("python3", ["-m", "venv", `${folder}/venv`]) ??
      await runBuild(`${folder}/venv/bin/pip`, [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--requirement",
        REQUIREMENTS,
      ]),
});
if ("folder" in built) await linkTo(`${built.folder}/venv`, VENV);
else {
  await Deno.remove(VENV, { recursive: true }).catch(() => {});
  console.error(`Could not install it; the tests that need it are skipped. ${built.problem}`);
}
