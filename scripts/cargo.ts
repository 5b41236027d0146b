/**
 * Builds the tests' Rust programs, and keeps what was built in the user's cache folder by a hash of its sources: a new clone of the same sources
 * builds nothing.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";

/** What to build. */
export interface CargoBuild {
  /** The folder with Cargo.toml, Cargo.lock and src/. */
  readonly folder: string;
  /** The artifact's name in cargo's release folder. */
  readonly artifact: string;
  /** Where a copy goes. */
  readonly output: string;
  /** Printed before a build, such as `AWS-LC (once, about a minute)`. */
  readonly what: string;
}

const BUILD_MS = 900_000;

async function run(command: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(BUILD_MS),
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  const last = new TextDecoder().decode(stderr).trim().split("\n").slice(-5).join("\n");
  throw new Error(`${command} ${args[0] ?? ""} failed: ${last}`);
}

async function filesOf(folder: string): Promise<readonly string[]> {
  const sources: string[] = [];
  for await (const { name } of Deno.readDir(`${folder}/src`)) sources.push(`src/${name}`);
  return ["Cargo.toml", "Cargo.lock", ...sources.toSorted()];
}

async function inputHash(folder: string): Promise<string> {
  const text = [await run("cargo", ["--version", "--verbose"])];
  for (const file of await filesOf(folder)) text.push(file, await Deno.readTextFile(`${folder}/${file}`));
  return encodeHex(
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text.join("\0")))),
  );
}

function cacheFolder(): string | undefined {
  const home = Deno.env.get("HOME");
  const base = Deno.env.get("XDG_CACHE_HOME") ?? (home === undefined ? undefined : `${home}/.cache`);
  return base === undefined ? undefined : `${base}/denclave`;
}

/** Copies by way of a name of its own, so that two builds at a time leave a whole file. */
async function install(from: string, to: string): Promise<void> {
  await Deno.mkdir(to.replace(/\/[^/]*$/, ""), { recursive: true });
  const temporary = `${to}.${crypto.randomUUID()}`;
  await Deno.copyFile(from, temporary);
  await Deno.rename(temporary, to);
}

/**
 * Builds, or takes what the cache has.
 *
 * @returns undefined, or why it could not be built; then no output is there
 */
export async function cargoBuild(
  { folder, artifact, output, what }: CargoBuild,
): Promise<string | undefined> {
  let target: string | undefined;
  try {
    const cached = `${cacheFolder() ?? `${output}.cache`}/${artifact}-${await inputHash(folder)}`;
    if (!await Deno.stat(cached).then(() => true, () => false)) {
      console.error(`Building ${what}`);
      target = await Deno.makeTempDir({ prefix: "denclave-cargo-" });
      await run("cargo", [
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--manifest-path",
        `${folder}/Cargo.toml`,
        "--target-dir",
        target,
      ]);
      await install(`${target}/release/${artifact}`, cached);
    }
    await install(cached, output);
    return undefined;
  } catch (thrown) {
    await Deno.remove(output).catch(() => {});
    return thrown instanceof Error ? thrown.message : String(thrown);
  } finally {
    if (target !== undefined) await Deno.remove(target, { recursive: true });
  }
}
