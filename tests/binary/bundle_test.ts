/**
 * The bundles that are compiled behave as their sources, and differ from no other machine's. Made by the Deno that runs
 * the tests, and by the one that compiled the binaries, which the variable DENO names (in .ci/run).
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { SOURCES } from "../../scripts/compile.ts";
import { type SourceMap, sourcePosition } from "../../scripts/source_position.ts";
import { Folder } from "../helpers/folder.ts";
import { until } from "../helpers/deadline.ts";
import type { LogLine } from "../helpers/service_process.ts";
import { skipTests } from "../helpers/skip.ts";
import { workflowRig } from "../helpers/workflow_rig.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const SHAPES = "tests/fixtures/bundle/shapes.ts";
const WORKFLOW = { entry: "tests/helpers/workflow_main.ts", lock: "tests/deno.lock" };
const compiler = Deno.env.get("DENO");

async function output(command: string, args: readonly string[]): Promise<string> {
  const made = await new Deno.Command(command, { args: [...args], cwd: ROOT, stdin: "null" }).output();
  if (!made.success) throw new Error(`${args.join(" ")} failed: ${new TextDecoder().decode(made.stderr)}`);
  return new TextDecoder().decode(made.stdout);
}

const run = (deno: string, ...args: readonly string[]) =>
  output(deno, ["run", "--quiet", "--no-prompt", ...args]);

/** Bundles as the compile task does. */
async function bundleBy(
  deno: string,
  { entry, lock }: { readonly entry: string; readonly lock: string },
  folder: Folder,
) {
  const made = await run(deno, "-A", "tests/helpers/bundle_main.ts", entry, lock, folder.path);
  const { path, map } = JSON.parse(made) as { readonly path: string; readonly map: SourceMap };
  return { path, map, code: await Deno.readTextFile(path) };
}

if (compiler === undefined) {
  skipTests("bundles by the Deno that compiled the binaries, since the variable DENO does not name it");
}
const versions = new Map<string, string>();
for (const deno of [Deno.execPath(), ...(compiler === undefined ? [] : [compiler])]) {
  versions.set((await output(deno, ["--version"])).split(/\s/)[1] ?? "", deno);
}

for (const [version, deno] of versions) {
  Deno.test(`bundle by Deno ${version}: what using disposes in the source is disposed in the bundle, in the same order`, async () => {
    await using folder = await Folder.make();
    const { path } = await bundleBy(deno, { entry: SHAPES, lock: "tests/deno.lock" }, folder);
    const [source, bundled] = await Promise.all([run(deno, SHAPES), run(deno, "--no-config", path)]);
    assertEquals(bundled.split("\n"), source.split("\n"));
  });

  Deno.test(`bundle by Deno ${version}: the log has the names that error classes set, also where the bundle renames them`, async () => {
    await using folder = await Folder.make();
    const { path, code } = await bundleBy(deno, WORKFLOW, folder);
    assert(/\bOpenError[0-9] = class\b/.test(code), "no class was renamed");
    await using rig = await workflowRig({ entry: path, isBundle: true });
    await rig.ask("throws a class of its own");
    await rig.ask("throws");
    await rig.ask("rejects late");
    await rig.ask("async");
    const classes = (lines: readonly LogLine[]) => lines.map((line) => line["class"]);
    assertEquals(classes(rig.service.events("workflow_threw")), ["OpenError", "Error"]);
    const uncaught = () =>
      rig.service.events("workflow").filter(({ workflow_event }) => workflow_event === "uncaught");
    await until("what nobody caught", () => uncaught().length === 3);
    assertEquals(classes(uncaught()), ["OpenError", "Error", "Error"]);
  });

  Deno.test(`bundle by Deno ${version}: the workflow is loaded in its own process only, and one that loops ends with it`, async () => {
    await using folder = await Folder.make();
    const { path } = await bundleBy(deno, WORKFLOW, folder);
    const flags = ["--workflow-ms=700", "--workflow-processes=1"];
    await using rig = await workflowRig({ entry: path, isBundle: true, flags });
    assertNotEquals(await rig.ask("says where it was imported"), String(rig.service.pid));
    assertEquals(await rig.ask("loops"), "error workflow_timeout");
    assertEquals([await rig.ask("echo"), rig.service.stderr], ["echo", ""]);
  });

  for (const [flavour, source] of Object.entries(SOURCES)) {
    Deno.test(`bundle by Deno ${version}: ${flavour}'s names no folder of this machine, and its map leads to the sources`, async () => {
      await using folder = await Folder.make();
      const { code, map } = await bundleBy(deno, source, folder);
      const lines = code.split("\n");
      assertEquals(lines.filter((line) => /^(\/\/| {2}")\s*\.\.?\/|registry\.npmjs|\/npm\//.test(line)), []);
      // Before the code of a module stands its name.
      const modules = [...lines.entries()].filter(([, line]) =>
        /^\/\/ (ffi|lib|scripts)\/\S+\.ts$/.test(line)
      );
      const led = modules.slice(-20).map(([index, line]) =>
        [line, sourcePosition(map, index + 2, 1)?.source] as const
      );
      const mapped = led.filter(([, found]) => found !== undefined);
      assert(mapped.length >= 5, `only ${mapped.length} of ${led.length} places are in the map`);
      for (const [line, found] of mapped) assertEquals(`// ${found}`, line);
    });
  }
}
