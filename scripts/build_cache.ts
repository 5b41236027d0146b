/**
 * What the tests' peers are built into, kept across clones: a folder of the user's cache (`$XDG_CACHE_HOME/denclave`), one for each state of the
 * inputs. It is not part of the program.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";

const BUILD_MS = 900_000;
/** In a folder that was built to its end. */
const COMPLETE = "complete";

/** Runs a command to its end. @returns the end of what it said, if it failed */
export async function runBuild(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { success, stderr } = await new Deno.Command(command, {
      args: [...args],
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(BUILD_MS),
    }).output();
    return success ? undefined : new TextDecoder().decode(stderr).trim().split("\n").slice(-5).join("\n");
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}

/** What a tool says its version is; empty where it is not there. */
async function versionOf(tool: string): Promise<string> {
  try {
    return new TextDecoder().decode((await new Deno.Command(tool, { args: ["--version"] }).output()).stdout);
  } catch {
    return "";
  }
}

/** One thing to build. */
interface CachedBuild {
  readonly name: string;
  /** Files that it is made from; with the tool's version they name its folder. */
  readonly inputs: readonly string[];
  /** Whose version counts. */
  readonly tool: string;
  /** Said before it is built. */
  readonly says: string;
  /** Builds into a folder. @returns what went wrong */
  build(folder: string): Promise<string | undefined>;
}

/**
 * Builds it, unless it was built of the same inputs before, by this clone or another.
 *
 * @returns its folder, or what went wrong
 */
export async function buildOnce(
  { name, inputs, tool, says, build }: CachedBuild,
): Promise<{ readonly folder: string } | { readonly problem: string }> {
  const parts = [name, Deno.build.target, await versionOf(tool)];
  for (const input of inputs) parts.push(input, await Deno.readTextFile(input));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(parts)));
  const cache = Deno.env.get("XDG_CACHE_HOME") ||
    `${Deno.env.get("HOME") || `${Deno.cwd()}/tests/peers/build`}/.cache`;
  const folder = `${cache}/denclave/${name}-${encodeHex(new Uint8Array(digest)).slice(0, 32)}`;
  await Deno.mkdir(`${cache}/denclave`, { recursive: true });
  // Two clones may build at the same time.
  using lock = await Deno.open(`${folder}.lock`, { create: true, write: true });
  await lock.lock(true);
  if (await Deno.stat(`${folder}/${COMPLETE}`).then(() => true, () => false)) return { folder };
  await Deno.remove(folder, { recursive: true }).catch(() => {});
  await Deno.mkdir(folder);
  console.error(says);
  const problem = await build(folder);
  if (problem !== undefined) return { problem };
  await Deno.writeTextFile(`${folder}/${COMPLETE}`, "");
  return { folder };
}

/** Makes a path of this clone a link into the cache. */
export async function linkTo(target: string, path: string): Promise<void> {
  if (await Deno.readLink(path).catch(() => undefined) === target) return;
  await Deno.remove(path, { recursive: true }).catch(() => {});
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  await Deno.symlink(target, path);
}

/** A Rust program to build. */
interface CargoBuild extends Pick<CachedBuild, "name" | "says"> {
  /** The folder with Cargo.toml, Cargo.lock and src/. */
  readonly folder: string;
  /** The artifact's name in cargo's release folder. */
  readonly artifact: string;
  /** Where a copy goes. */
  readonly output: string;
}

/** Builds a Rust program, or takes what the cache has. @returns why it could not be built; then no output is there */
export async function cargoBuild(
  { folder, artifact, output, ...named }: CargoBuild,
): Promise<string | undefined> {
  const sources = [...Deno.readDirSync(`${folder}/src`)].map(({ name }) => `${folder}/src/${name}`).sort();
  const manifest = `${folder}/Cargo.toml`;
  const built = await buildOnce({
    ...named,
    inputs: [manifest, `${folder}/Cargo.lock`, ...sources],
    tool: "rustc",
    build: async (into) => {
      const target = `${into}/target`;
      const args = ["--release", "--locked", "--quiet", "--manifest-path", manifest, "--target-dir", target];
      const problem = await runBuild("cargo", ["build", ...args]);
      if (problem !== undefined) return problem;
      await Deno.copyFile(`${target}/release/${artifact}`, `${into}/${artifact}`);
      return void await Deno.remove(target, { recursive: true });
    },
  });
  if ("problem" in built) {
    // What was built from other sources must not be used.
    await Deno.remove(output, { recursive: true }).catch(() => {});
    return built.problem;
  }
  await Deno.mkdir(output.slice(0, output.lastIndexOf("/")), { recursive: true });
  // By way of a name of its own, so that two builds at a time leave a whole file.
  const temporary = `${output}.${crypto.randomUUID()}`;
  await Deno.copyFile(`${built.folder}/${artifact}`, temporary);
  return void await Deno.rename(temporary, output);
}
