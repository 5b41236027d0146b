/**
 * The threat model (docs/security.md): each rule has tests that attack it and mutants that break it
 * (tests/security_rules.txt), and they exist.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { MUTANTS } from "../mutation/mutants.ts";
import { type NamedTest, parseRules, readRules, rulesOf, TESTS_PAGE, testsPage } from "./security_rules.ts";

const ROOT = new URL("../../", import.meta.url);
const { page: PAGE, list: LIST } = await readRules();

/** The source with each `${…}` of a template as `…`. */
function withoutInsertions(source: string): string {
  let text = "";
  let depth = 0;
  for (let at = 0; at < source.length; at++) {
    if (depth === 0 && source.startsWith("${", at)) {
      text += "…";
      depth = 1;
      at++;
    } else if (depth > 0) {
      if (source[at] === "{") depth++;
      if (source[at] === "}") depth--;
    } else text += source[at];
  }
  return text;
}

/** Whether a source has this text as a whole string, of whichever quotes. */
function hasString(source: string, text: string): boolean {
  return ['"', "`", "'"].some((quote) => source.includes(`${quote}${text}${quote}`));
}

/**
 * Whether a file has a test, or a row of a table of tests, of this name; what the name inserts is written as
 * `…`.
 */
async function hasTest({ file, name }: NamedTest): Promise<boolean> {
  const source = await Deno.readTextFile(new URL(file, ROOT)).catch(() => "");
  return hasString(source, name) || hasString(withoutInsertions(source), name) ||
    // The production entry's suite puts the program's name in front.
    hasString(withoutInsertions(source), `…: ${name}`);
}

Deno.test("every test that the threat model names exists, and every rule has one", async () => {
  assert(LIST.length > 60, `${LIST.length} rules`);
  const missing: string[] = [];
  for (const { id, tests } of LIST) {
    assert(tests.length > 0, `${id} has no test`);
    for (const test of tests) if (!await hasTest(test)) missing.push(`${id}: ${test.file}: ${test.name}`);
  }
  assertEquals(missing, []);
});

Deno.test("the threat model and the list of its tests have the same rules, each once", () => {
  assertEquals(rulesOf(PAGE).map(({ id }) => id).toSorted(), LIST.map(({ id }) => id).toSorted());
  assertEquals(new Set(LIST.map(({ id }) => id)).size, LIST.length);
  // No row of a table of rules is written in another way.
  assertEquals(PAGE.match(/^\| (?!\[R|.*---)(?!\| rule)/gm), null);
});

Deno.test("docs/security_tests.md is what the list makes", async () => {
  assertEquals(await Deno.readTextFile(TESTS_PAGE), testsPage(PAGE, LIST), "run: deno task docs");
});

Deno.test("every mutant that a rule names exists; every other says which part of the product it is in", () => {
  const known = new Set(MUTANTS.map(({ name }) => name));
  const named = new Set(LIST.flatMap(({ mutants }) => mutants));
  assertEquals([...named].filter((name) => !known.has(name)), []);
  const unnamed = MUTANTS.filter(({ name, of }) => named.has(name) === (of !== undefined));
  assertEquals(unnamed.map(({ name }) => name), []);
});

Deno.test("a missing test is found, whatever its quotes and insertions", async () => {
  const file = "tests/house/security_doc_test.ts";
  assert(
    await hasTest({ file, name: "a missing test is found, whatever its quotes and insertions" }),
  );
  assertEquals(await hasTest({ file, name: ["a test", "that was renamed"].join(" ") }), false);
  assertEquals(await hasTest({ file: "tests/house/gone_test.ts", name: "x" }), false);
  assertEquals(withoutInsertions("`a ${b({ c: `d` })} e`"), "`a … e`");
  assertEquals(parseRules("R1\n  unit/a_test.ts: one\n  mutants: m, n\nR2\n  none: why\n"), [
    { id: "R1", tests: [{ file: "tests/unit/a_test.ts", name: "one" }], mutants: ["m", "n"] },
    { id: "R2", tests: [], mutants: [], none: "why" },
  ]);
  for (const bad of ["R1\n  unit/a_test.ts: one", "X\n  none: why", "R1\n  a.ts: one\n  none: why"]) {
    assertThrows(() => parseRules(bad), TypeError);
  }
});
