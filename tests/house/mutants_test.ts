/** The list of mutants, and how one is applied: `deno task mutants` runs them. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { MUTANTS, parseMutants } from "../mutation/mutants.ts";
import { pathsBelow, ROOT } from "../helpers/sources.ts";
import { applyMutant } from "../mutation/run.ts";

const SMALL = new Map([
  ["lib/a.ts", "const a = 1;\nconst b = 2;\n"],
  ["ffi/c.ts", "const b = 2;\nconst c = a + a; // $&\n"],
]);

const PROBLEMS: readonly (readonly [string, string, string, string])[] = [
  ["of text in two files", "const b", "", "its text is 2 times in the product: lib/a.ts,ffi/c.ts"],
  [
    "of text that is twice in one file",
    "a",
    "b",
    "its text is 3 times in the product: lib/a.ts,ffi/c.ts,ffi/c.ts",
  ],
  ["of text that is gone", "const d", "", "its text is in no file of the product"],
  ["of two lines", "1;\nconst", "", "is not a change within one line"],
  ["that changes nothing", "const a", "const a", "is not a change within one line"],
];
for (const [what, from, to, problem] of PROBLEMS) {
  Deno.test(`a change ${what} is a problem`, () =>
    assertEquals(applyMutant({ from, to }, SMALL), { problem }));
}

Deno.test("a change in one place is made, also to text that replace() would expand", () => {
  const source = "\nconst b = 2;\n";
  assertEquals(applyMutant({ from: "const a = 1;", to: "" }, SMALL), { path: "lib/a.ts", source });
  const expanded = applyMutant({ from: "c = a", to: "c = $&" }, SMALL);
  assertEquals("source" in expanded && expanded.source, "const b = 2;\nconst c = $& + a; // $&\n");
});

Deno.test("a list is read: the test and its filter, the part of the product, and a change or what goes", () => {
  const text =
    "# a comment\ntest a_test.ts\na: breaks: a\n-   from\n\ntest b_test.ts two words\nb (FFI): c\n- d\n+  e\n";
  assertEquals(parseMutants(text), [
    {
      name: "a",
      breaks: "breaks: a",
      from: "  from",
      to: "",
      test: "a_test.ts",
      filter: undefined,
      of: undefined,
    },
    { name: "b", breaks: "c", from: "d", to: " e", test: "b_test.ts", filter: "two words", of: "FFI" },
  ]);
  for (const line of ["- twice", "+ e\n+ e", "no colon", "a (of nothing): b"]) {
    assertThrows(() => parseMutants(`test a_test.ts\na: b\n- c\n${line}`), SyntaxError);
  }
});

Deno.test("every mutant has a name of its own, a test file that exists, and its text once in the product", () => {
  const paths = ["main.ts", "ffi", "lib"].flatMap(pathsBelow);
  const product = new Map(paths.map((path) => [path, Deno.readTextFileSync(`${ROOT}${path}`)]));
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
