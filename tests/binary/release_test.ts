/** `scripts/release.sh`: a release of this machine's architecture, made as a maintainer would, without `--publish`. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { VERSION } from "../../lib/shared/version.ts";
import { within } from "../helpers/deadline.ts";
import { Folder } from "../helpers/folder.ts";

const RELEASE_MS = 300_000;

async function run(command: string, args: readonly string[], cwd?: string) {
  const output = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    ...(cwd === undefined ? {} : { cwd }),
  });
  const { code, stdout, stderr } = await within(output.output(), command, RELEASE_MS);
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

const release = (...args: readonly string[]) => run("scripts/release.sh", args);
const tags = async () => (await run("git", ["tag", "--list"])).stdout;

/** The packages of a lock file: name@version of each. */
async function packagesOf(lock: string): Promise<readonly string[]> {
  const { npm } = JSON.parse(await Deno.readTextFile(lock)) as { npm: Readonly<Record<string, unknown>> };
  return Object.keys(npm).sort();
}

Deno.test("release: binaries, package, bills of materials and sums are made, and nothing is published", async () => {
  await using folder = await Folder.make();
  const before = await tags();
  const output = `${folder.path}/release`;
  const made = await release("--arch", Deno.build.arch, "--output", output);
  assertEquals(made.code, 0, made.stderr);
  assertStringIncludes(made.stdout, "Nothing was published.");
  assertEquals(await tags(), before);
  const checked = await run("sha256sum", ["--check", "--strict", "SHA256SUMS"], output);
  assertEquals(checked.code, 0, checked.stderr);
  const summed = (await Deno.readTextFile(`${output}/SHA256SUMS`)).trimEnd().split("\n").map((line) =>
    line.slice(66)
  );
  assertEquals(
    summed,
    [
      "denclave.cdx.json",
      "denclavectl.cdx.json",
      `denclave-denclave-${VERSION}.tgz`,
      `denclave-${VERSION}-py3-none-any.whl`,
      "notes.md",
      ...["denclave", "denclavectl"].flatMap((name) =>
        [name, `${name}.build.json`, `${name}.map`].map((file) => `${Deno.build.arch}/${file}`)
      ),
    ].sort(),
  );
  const { stdout } = await run(`${output}/${Deno.build.arch}/denclavectl`, ["--version"]);
  assertStringIncludes(stdout, VERSION);
  for (const [name, lock] of [["denclave", "enclave.lock"], ["denclavectl", "ctl.lock"]] as const) {
    const bom = JSON.parse(await Deno.readTextFile(`${output}/${name}.cdx.json`)) as {
      readonly specVersion: string;
      readonly metadata: { readonly component: { readonly name: string; readonly version: string } };
      readonly components: readonly { readonly "bom-ref": string; readonly hashes: readonly unknown[] }[];
    };
    assertEquals([bom.specVersion, bom.metadata.component.name, bom.metadata.component.version], [
      "1.6",
      name,
      VERSION,
    ]);
    assertEquals(bom.components.map((one) => one["bom-ref"]).sort(), await packagesOf(lock));
    assert(bom.components.every(({ hashes }) => hashes.length === 1));
  }
  assert((await Deno.readTextFile(`${output}/notes.md`)).trim() !== "");
  const again = await release("--output", output);
  assertEquals([again.code, again.stdout], [1, ""]);
  assertMatch(again.stderr, /exists already: name another folder with --output/);
});

Deno.test("release: another architecture's binary is not made of this machine's base binary", async () => {
  await using folder = await Folder.make();
  const other = Deno.build.arch === "x86_64" ? "aarch64" : "x86_64";
  const output = new Deno.Command("scripts/release.sh", {
    args: ["--arch", other, "--output", `${folder.path}/release`],
    env: { DENORT_BIN: "/nonexistent/denort" },
    stdin: "null",
  });
  const { code, stderr } = await within(output.output(), "release.sh", RELEASE_MS);
  assertEquals(code, 69);
  assertMatch(new TextDecoder().decode(stderr), /DENORT_BIN is a base binary for/);
});
