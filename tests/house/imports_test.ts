/** The two import maps, `deno.json` and `deno.jsr.json`, name the same packages in the same versions. */
import { assertEquals, assertMatch } from "@std/assert";

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
