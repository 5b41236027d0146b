/**
 * What `denclavectl eif reproduce` needs, without compiling: a repository, and a stand-in for Deno that
 * "compiles" each of its commits to the program of the test's inputs.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { INPUTS } from "../fixtures/image_inputs.ts";
import { Folder } from "./folder.ts";
import { runTool } from "./tools.ts";

const DENO_VERSION = "2.9.6";

/** Runs git as somebody. */
export async function git(folder: string, ...args: readonly string[]): Promise<string> {
  const identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
  const { code, stdout, stderr } = await runTool("git", ["-C", folder, ...identity, ...args]);
  if (code !== 0) throw new Error(stderr);
  return stdout.trim();
}

/**
 * Inputs of an image with a record of what its program was made from, a repository `clone`, and `bin/deno`.
 *
 * @returns also what `eif reproduce` is called with, and the PATH
 */
export async function makeReproduction(): Promise<{ folder: Folder; args: readonly string[]; path: string }> {
  const folder = await Folder.make(INPUTS);
  await folder.write("clone/README.md", "the source");
  await git(`${folder.path}/clone`, "init", "--quiet");
  await git(`${folder.path}/clone`, "add", ".");
  await git(`${folder.path}/clone`, "commit", "--quiet", "-m", "source");
  const program = await Deno.readFile(`${folder.path}/in/denclave`);
  await folder.write(
    "in/denclave.build.json",
    JSON.stringify({
      file: "denclave",
      sha256: encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", program))),
      deno: DENO_VERSION,
      bundle_sha256: "ab",
      git_commit: await git(`${folder.path}/clone`, "rev-parse", "HEAD"),
      dirty: false,
      options: { flavour: "production", "install-dir": "/app" },
    }),
  );
  await folder.write(
    "bin/deno",
    [
      "#!/bin/bash",
      `[[ $1 != --version ]] || { echo "deno ${DENO_VERSION} (a stand-in)"; exit 0; }`,
      "until [[ $1 == --output ]]; do shift; done",
      `cp "\${0%/*}/../in/denclave" "$2" && cp "\${0%/*}/../in/denclave.build.json" "$2.build.json"`,
    ].join("\n"),
  );
  await Deno.chmod(`${folder.path}/bin/deno`, 0o755);
  const at = (name: string) => `${folder.path}/${name}`;
  return {
    folder,
    path: `${at("bin")}:/usr/bin:/bin`,
    args: [
      ...[
        "eif",
        "reproduce",
        at("out/enclave.provenance.json"),
        "--source",
        at("clone"),
        "--lib-dir",
        at("in"),
      ],
      ...["--sysroot", at("root"), "--blobs", at("blobs"), "--ca-bundle", at("ca.pem")],
      ...["--file", `/app/more.json=${at("in/denclave")}`, "--eif", at("out/enclave.eif")],
    ],
  };
}
