/**
 * Bundles an entry point and everything that it imports into one JavaScript file, with a source map. The same source gives the same bytes,
 * wherever the repository and Deno's cache are.
 *
 * Needs permission to run Deno, and to read and write the folder.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";
import { type ProgramRecord, sourceState } from "../lib/ctl/eif/provenance.ts";
import { packageHint } from "./package_hint.ts";

/** A bundle's files. */
interface Bundle {
  /** The JavaScript file. */
  readonly path: string;
  /** SHA-256 of it, hex. */
  readonly sha256: string;
  /** Its source map (version 3), sources relative to the repository; those of packages begin with `npm:`. */
  readonly map: Readonly<Record<string, unknown>>;
}

/** What to bundle. */
interface BundleOptions {
  /** Relative to the repository. */
  readonly entry: string;
  /** Lock file, relative to the repository: only this file's packages are used. */
  readonly lock: string;
  /** The bundle is made here. */
  readonly folder: string;
  /** File name of the bundle: it is in every stack trace. */
  readonly name: string;
}

/** The repository. */
export const REPOSITORY: string = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** `deno compile` puts the modification time of each file into the binary. */
const FIXED_TIME = 0;

/** Runs a program to its end. Its output is text. */
export async function run(
  command: string,
  args: readonly string[],
  { env = {} }: { readonly env?: Readonly<Record<string, string>> } = {},
): Promise<{ readonly ok: boolean; readonly stdout: string; readonly stderr: string }> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd: REPOSITORY,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { ok: success, stdout: text(stdout), stderr: text(stderr) };
}

/** SHA-256 of a file, hex. */
export async function sha256(path: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))).toHex();
}

/** A source's name without paths of this machine: relative to the repository or to a package. */
export function sourceName(source: string, folder: string): string {
  const path = source.startsWith("file:")
    ? new URL(source).pathname
    : new URL(source, `file://${folder}/`).pathname;
  if (path.startsWith(`${REPOSITORY}/`)) return path.slice(REPOSITORY.length + 1);
  // In Deno's cache: <cache>/npm/<registry>/<package>/<version>/<file>.
  const [, inPackage] = /.*\/npm\/[^/]+\/(.+)$/.exec(path) ?? [];
  return inPackage === undefined ? path.replace(/^.*\//, "") : `npm:${inPackage}`;
}

/**
 * Where a bundle names a package's module: in the comment before it, and in the key of the function around
 * it.
 */
const CACHED_MODULE = /^(\/\/ | {2}"(?=[^"\n]*"\())[^"\n]*\/npm\/[^"/\n]+\//gm;

/** Deno puts three lines in the place of the six of esbuild's `require`, and leaves the map as it was. */
const OWN_REQUIRE = "\nvar __require = __deno_internal_createRequire(import.meta.url);\n";
const REQUIRE_SHIFT = ";;;";

async function readMap(path: string, folder: string, code: string): Promise<Bundle["map"]> {
  const { sources, names, mappings } = JSON.parse(await Deno.readTextFile(path)) as {
    readonly sources: readonly string[];
    readonly names: readonly string[];
    readonly mappings: string;
  };
  const isShifted = code.includes(OWN_REQUIRE) && mappings.startsWith(REQUIRE_SHIFT);
  // Without the sources' text, which is in the repository.
  return {
    version: 3,
    sources: sources.map((source) => sourceName(source, folder)),
    names,
    mappings: isShifted ? mappings.slice(REQUIRE_SHIFT.length) : mappings,
  };
}

/**
 * Bundles with the Deno that runs this, and so with the one that compiles. Not minified: where only the next
 * expression uses the value of a `using`, `--minify` (esbuild 0.25.5, in Deno 2.6.10 and 2.9.6) drops its
 * disposal.
 *
 * @throws {EnclaveError} `compile_failed`
 */
export async function bundle({ entry, lock, folder, name }: BundleOptions): Promise<Bundle> {
  const path = `${folder}/${name}`;
  const { ok, stderr } = await run(Deno.execPath(), [
    "bundle",
    "--quiet",
    "--sourcemap=external",
    `--lock=${lock}`,
    "--frozen",
    "--output",
    path,
    entry,
    // ES modules where a package has both: the CommonJS half of tslib does not survive the older bundler.
  ], { env: { DENO_CONDITIONS: "module" } });
  if (!ok) {
    throw new EnclaveError(`deno bundle failed:\n${stderr.trim()}`, {
      code: "compile_failed",
      hint: packageHint(stderr) ??
        (/esbuild/.test(stderr)
          ? "deno bundle takes esbuild from the npm registry; where a proxy signs the registry's answers, set DENO_TLS_CA_STORE=system."
          : undefined),
    });
  }
  const code = await Deno.readTextFile(path);
  await Deno.writeTextFile(path, code.replace(CACHED_MODULE, "$1npm:"));
  const map = await readMap(`${path}.map`, folder, code);
  await Deno.remove(`${path}.map`);
  await Deno.utime(path, FIXED_TIME, FIXED_TIME);
  return { path, sha256: await sha256(path), map: { ...map, file: name } };
}

/**
 * Checks the types of the workflow, which bundling does not.
 *
 * @param lock relative to the repository
 * @throws {EnclaveError} `compile_failed`
 */
export async function checkWorkflow(lock: string): Promise<void> {
  const { ok, stderr } = await run(Deno.execPath(), [
    ...["check", "--quiet", `--lock=${lock}`, "--frozen", "lib/workflow.ts"],
  ]);
  if (ok) return;
  throw new EnclaveError(`The workflow does not pass the type check:\n${stderr.trim()}`, {
    code: "compile_failed",
    hint: "Correct lib/workflow.ts; deno check lib/workflow.ts shows whether it passes.",
  });
}

/** The record of a binary, to be written beside it. */
export async function buildRecord(
  output: string,
  made: Bundle,
  options: ProgramRecord["options"],
): Promise<ProgramRecord> {
  return {
    file: output.replace(/^.*\//, ""),
    sha256: await sha256(output),
    deno: Deno.version.deno,
    bundle_sha256: made.sha256,
    ...await sourceState(REPOSITORY),
    options,
  };
}
