/** The list of mutants, and how one is applied: `deno task mutants` runs them. */
import { assert, assertEquals } from "@std/assert";
import { MUTANTS } from "../mutation/mutants.ts";
import { applyMutant } from "../mutation/run.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The product's files below a folder, by path. */
function productBelow(folder: string): readonly (readonly [string, string])[] {
  return [...Deno.readDirSync(`${ROOT}${folder}`)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return productBelow(path);
    return name.endsWith(".ts") ? [[path, Deno.readTextFileSync(`${ROOT}${path}`)] as const] : [];
  });
}

const SMALL = new Map([
  ["lib/a.ts", "const a = 1;\nconst b = 2;\n"],
  ["ffi/c.ts", "const b = 2;\nconst c = a + a; // $&\n"],
]);

for (
  const { what, from, to, expected } of [
    {
      what: "in one place",
      from: "const a = 1;",
      to: "",
      expected: { path: "lib/a.ts", source: "\nconst b = 2;\n" },
    },
    {
      what: "to text that replace() would expand",
      from: "c = a",
      to: "c = $&",
      expected: { path: "ffi/c.ts", source: "const b = 2;\nconst c = $& + a; // $&\n" },
    },
    {
      what: "of text in two files",
      from: "const b",
      to: "",
      expected: { problem: "its text is 2 times in the product: lib/a.ts,ffi/c.ts" },
    },
    {
      what: "of text that is twice in one file",
      from: "a",
      to: "b",
      expected: { problem: "its text is 3 times in the product: lib/a.ts,ffi/c.ts,ffi/c.ts" },
    },
    {
      what: "of text that is gone",
      from: "const d",
      to: "",
      expected: { problem: "its text is in no file of the product" },
    },
    {
      what: "of two lines",
      from: "1;\nconst",
      to: "",
      expected: { problem: "is not a change within one line" },
    },
    {
      what: "that changes nothing",
      from: "const a",
      to: "const a",
      expected: { problem: "is not a change within one line" },
    },
  ] as const
) {
  Deno.test(`a change ${what} ${"path" in expected ? "is made" : "is a problem"}`, () => {
    assertEquals(applyMutant({ from, to }, SMALL), expected);
  });
}

Deno.test("every mutant has a name of its own, a test file that exists, and its text once in the product", () => {
  const product = new Map([
    ["main.ts", Deno.readTextFileSync(`${ROOT}main.ts`)] as const,
    ...["ffi", "lib"].flatMap(productBelow),
  ]);
  assert(MUTANTS.length >= 100, `${MUTANTS.length}`);
  assertEquals(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  const problems = MUTANTS.flatMap((mutant) => {
    const changed = applyMutant(mutant, product);
    return "problem" in changed ? [`${mutant.name}: ${changed.problem}`] : [];
  });
  assertEquals(problems, []);
  for (const test of new Set(MUTANTS.map((mutant) => mutant.test))) {
    assert(Deno.statSync(`${ROOT}tests/${test}`).isFile, test);
  }
});
