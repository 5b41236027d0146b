/**
 * What attacks each rule of docs/security.md: `tests/security_rules.txt`, read, and docs/security_tests.md, made of it. As a program it writes that page:
 * `deno task docs`.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url);
const PAGE = new URL("docs/security.md", ROOT);
const LIST = new URL("tests/security_rules.txt", ROOT);
/** The generated page. */
export const TESTS_PAGE = new URL("docs/security_tests.md", ROOT);

/** A test that attacks a rule. */
export interface NamedTest {
  /** From the repository's root. */
  readonly file: string;
  readonly name: string;
}

/** What attacks one rule. */
export interface RuleTests {
  readonly id: string;
  readonly tests: readonly NamedTest[];
  /** Names of mutants that break it. */
  readonly mutants: readonly string[];
  /** Why there is no mutant. */
  readonly none?: string;
}

/** Reads the list: an id, and below it, indented, tests as `file: name`, then `mutants: …` or `none: …`. @throws {TypeError} with the line. */
export function parseRules(text: string): readonly RuleTests[] {
  return text.trimEnd().split(/\n(?=\S)/).map((block) => {
    const [id = "", ...lines] = block.split("\n");
    const last = /^ {2}(mutants|none): (.+)$/.exec(lines.at(-1) ?? "");
    if (!/^R[1-9][0-9]*$/.test(id) || last === null) {
      throw new TypeError(
        `Cannot read the rule ${JSON.stringify(id)}: its last line is mutants: … or none: …`,
      );
    }
    const [, kind, rest = ""] = last;
    const tests = lines.slice(0, -1).map((line) => {
      const [, file = "", name = ""] = /^ {2}(\S+_(?:test|suite|contract)\.ts): (.+)$/.exec(line) ?? [];
      if (name === "") {
        throw new TypeError(`Cannot read ${JSON.stringify(line)} of ${id}: it is no "file_test.ts: name"`);
      }
      return { file: `tests/${file}`, name };
    });
    return { id, tests, ...(kind === "none" ? { mutants: [], none: rest } : { mutants: rest.split(", ") }) };
  });
}

/** The rules of the threat model, by section: each row that begins with a link to its tests. */
export function rulesOf(
  page: string,
): readonly { readonly section: string; readonly id: string; readonly rule: string }[] {
  let section = "";
  return page.split("\n").flatMap((line) => {
    section = /^## (.+)$/.exec(line)?.[1] ?? section;
    const [, id, anchor, rule] =
      /^\| \[(R[0-9]+)\]\(security_tests\.md#(r[0-9]+)\) \| (.+?) \| .+ \|$/.exec(line) ?? [];
    return id !== undefined && rule !== undefined && anchor === id.toLowerCase()
      ? [{ section, id, rule }]
      : [];
  });
}

/** docs/security_tests.md. */
export function testsPage(page: string, list: readonly RuleTests[]): string {
  const byId = new Map(list.map((rule) => [rule.id, rule]));
  let section = "";
  const parts = rulesOf(page).map((row) => {
    const heading = row.section === section ? "" : `## ${row.section}\n\n`;
    section = row.section;
    const { tests = [], mutants = [], none } = byId.get(row.id) ?? {};
    const attacks = tests.map(({ file, name }) =>
      `- [\`${file.replace(/^tests\//, "")}\`](../${file}): ${name}`
    );
    const broken = none === undefined
      ? `Mutants: ${mutants.map((name) => `\`${name}\``).join(", ")}`
      : `No mutant: ${none}`;
    return `${heading}### ${row.id}\n\n${row.rule}\n\n${attacks.join("\n")}\n\n${broken}\n`;
  });
  return `# Tests of the threat model\n
Generated from \`tests/security_rules.txt\` (\`deno task docs\`). For each rule of [security.md](security.md): the tests that attack it, and the mutants, changes
of one line that break it and that a test must notice. \`…\` stands for a part of a test's name that varies.\n
${parts.join("\n")}`;
}

/** Both sources, read. */
export async function readRules(): Promise<{ readonly page: string; readonly list: readonly RuleTests[] }> {
  return { page: await Deno.readTextFile(PAGE), list: parseRules(await Deno.readTextFile(LIST)) };
}

if (import.meta.main) {
  const { page, list } = await readRules();
  await Deno.writeTextFile(TESTS_PAGE, testsPage(page, list));
}
