/** The threat model (docs/security.md) names, for each rule, the tests that attack it: they exist. */
import { assert, assertEquals, assertMatch } from "@std/assert";

const ROOT = new URL("../../../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));

/** A test that the page names. */
interface NamedTest {
  readonly file: string;
  readonly name: string;
}

/** A row: its rule, and what attacks it. */
interface Row {
  readonly rule: string;
  readonly tests: readonly NamedTest[];
}

/** The rows of all tables whose last column is headed `attacked by`. A test is written as `file`: name; `<br>` separates them. */
function rowsOf(page: string): readonly Row[] {
  const rows: Row[] = [];
  let inTable = false;
  for (const line of page.split("\n")) {
    if (!line.startsWith("|")) inTable = false;
    else if (/\| attacked by \|$/.test(line)) inTable = true;
    else if (inTable && !/^\|[-|]+\|$/.test(line)) {
      const cells = line.slice(1, -1).split(" | ").map((cell) => cell.trim());
      const [rule = ""] = cells;
      const tests = (cells.at(-1) ?? "").split("<br>").map((text) => {
        const [, file = "", name = ""] = /^`([^`]+)`: (.+)$/.exec(text.trim()) ?? [];
        return { file: `tests/${file}`, name };
      });
      rows.push({ rule, tests });
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

/** Whether a file has a test, or a row of a table of tests, of this name; what the name inserts is written as `…`. */
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

Deno.test("a missing test is found, whatever its quotes and insertions", async () => {
  const file = "tests/unit/house/security_doc_test.ts";
  assert(
    await hasTest({ file, name: "a missing test is found, whatever its quotes and insertions" }),
  );
  assertEquals(await hasTest({ file, name: ["a test", "that was renamed"].join(" ") }), false);
  assertEquals(await hasTest({ file: "tests/unit/house/gone_test.ts", name: "x" }), false);
  assertEquals(withoutInsertions("`a ${b({ c: `d` })} e`"), "`a … e`");
  assertEquals(
    rowsOf("| rule | attacked by |\n|---|---|\n| R | `a_test.ts`: one<br>`b_test.ts`: two |\n\nend"),
    [{
      rule: "R",
      tests: [{ file: "tests/a_test.ts", name: "one" }, { file: "tests/b_test.ts", name: "two" }],
    }],
  );
});
