/**
 * The threat model (docs/security.md) names, for each rule, the tests that attack it and the mutants that
 * break it: they exist.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { MUTANTS } from "../mutation/mutants.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));

/** A test that the page names. */
interface NamedTest {
  readonly file: string;
  readonly name: string;
}

/** A row: its rule, what attacks it, and the cell of its mutants. */
interface Row {
  readonly rule: string;
  readonly tests: readonly NamedTest[];
  readonly mutants: string;
}

/**
 * The rows of all tables that have a column `attacked by`. A test is written as `file`: name; `<br>`
 * separates them.
 */
function rowsOf(page: string): readonly Row[] {
  const rows: Row[] = [];
  const cellsOf = (line: string) => line.slice(1, -1).split(" | ").map((cell) => cell.trim());
  let columns: readonly string[] | undefined;
  for (const line of page.split("\n")) {
    if (!line.startsWith("|")) columns = undefined;
    else if (/\| attacked by \|/.test(line)) columns = cellsOf(line);
    else if (columns !== undefined && !/^\|[-|]+\|$/.test(line)) {
      const cells = cellsOf(line);
      const cell = (name: string) => cells[columns?.indexOf(name) ?? -1];
      const tests = (cell("attacked by") ?? "").split("<br>").map((text) => {
        const [, file = "", name = ""] = /^`([^`]+)`: (.+)$/.exec(text.trim()) ?? [];
        return { file: `tests/${file}`, name };
      });
      rows.push({ rule: cells[0] ?? "", tests, mutants: cell("mutants") ?? "" });
    }
  }
  return rows;
}

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
  const source = await read(file).catch(() => "");
  return hasString(source, name) || hasString(withoutInsertions(source), name) ||
    // The production entry's suite puts the program's name in front.
    hasString(withoutInsertions(source), `…: ${name}`);
}

Deno.test("every test that the threat model names exists, and every rule has one", async () => {
  const rows = rowsOf(await read("docs/security.md"));
  assert(rows.length > 40, `${rows.length} rows`);
  const missing: string[] = [];
  for (const { rule, tests } of rows) {
    for (const test of tests) {
      assertMatch(test.file, /_(test|suite|contract)\.ts$/, rule);
      if (test.name === "" || !await hasTest(test)) missing.push(`${test.file}: ${test.name} (${rule})`);
    }
  }
  assertEquals(missing, []);
});

/** The mutants that a cell names; `none: ` and a reason where no change of one line breaks the rule. */
function mutantsOf(cell: string): readonly string[] {
  return /^none: ./.test(cell) ? [] : cell.split(", ").map((text) => /^`([^`]+)`$/.exec(text)?.[1] ?? text);
}

Deno.test("every rule names a mutant or the reason why there is none, and every mutant that it names exists", async () => {
  const known = new Set(MUTANTS.map(({ name }) => name));
  const cells = rowsOf(await read("docs/security.md")).map(({ mutants }) => mutants);
  assert(cells.length > 60, `${cells.length} rows`);
  assertEquals(cells.flatMap(mutantsOf).filter((name) => !known.has(name)), []);
});

Deno.test("every mutant is named beside its rule, or says which part of the product it is in", async () => {
  const rows = rowsOf(await read("docs/security.md"));
  const named = new Set(rows.flatMap(({ mutants }) => mutantsOf(mutants)));
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
  const row = "R | `a_test.ts`: one<br>`b_test.ts`: two";
  const tests = [{ file: "tests/a_test.ts", name: "one" }, { file: "tests/b_test.ts", name: "two" }];
  assertEquals(rowsOf(`| rule | attacked by |\n|---|---|\n| ${row} |\n\nend`), [
    { rule: "R", tests, mutants: "" },
  ]);
  assertEquals(
    rowsOf(`| rule | attacked by | mutants |\n|---|---|---|\n| ${row} | \`m\`, \`n\` |\n| ${row} |`),
    [{ rule: "R", tests, mutants: "`m`, `n`" }, { rule: "R", tests, mutants: "" }],
  );
  assertEquals(["`m`, `n`", "none: the page says so", ""].map(mutantsOf), [["m", "n"], [], [""]]);
});
