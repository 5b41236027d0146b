/** `deno.json`: its tasks, and its imports, which `deno.jsr.json` has as well. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { PERMISSIONS } from "../../scripts/permissions.ts";

const read = async (path: string) => await Deno.readTextFile(new URL(`../../${path}`, import.meta.url));

async function importsOf(path: string): Promise<Record<string, string>> {
  const { imports } = JSON.parse(await read(path)) as { readonly imports: Record<string, string> };
  return imports;
}

/** What a local module stands in for: a package of JSR, or npm's under another lock file. */
async function original(name: string, module: string): Promise<RegExp | string> {
  if (name.startsWith("@std/")) return new RegExp(`^jsr:${name}@1(/|$)`);
  const [, specifier = ""] = /from "(npm:[^"]+)"/.exec(await read(module)) ?? [];
  return specifier;
}

Deno.test("deno.jsr.json names every import of deno.json, from JSR or npm, in the same version", async () => {
  const [imports, originals] = [await importsOf("deno.json"), await importsOf("deno.jsr.json")];
  assertEquals(Object.keys(originals).sort(), Object.keys(imports).sort());
  for (const [name, specifier] of Object.entries(imports)) {
    const expected = specifier.startsWith("./") ? await original(name, specifier) : specifier;
    const found = originals[name] ?? "";
    if (typeof expected === "string") assertEquals(found, expected);
    else assertMatch(found, expected);
  }
});

Deno.test("deno.json has at most 16 tasks, and the permissions that they take from a table are there, each with a reason", async () => {
  const { tasks } = JSON.parse(await read("deno.json")) as {
    readonly tasks: Record<string, { command: string }>;
  };
  assert(Object.keys(tasks).length <= 16);
  for (const { command } of Object.values(tasks)) {
    assert(command.length < 400, command);
    for (const [, name = ""] of command.matchAll(/scripts\/permissions\.ts ([a-z-]+)/g)) {
      assert(Object.hasOwn(PERMISSIONS, name), name);
    }
  }
  for (const permission of Object.values(PERMISSIONS).flat()) {
    assert(permission.why.length > 10, permission.flag);
  }
});
