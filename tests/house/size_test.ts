/**
 * The size of the house, printed and held: lines of code (formatted, without blanks and comments), and who
 * imports whom by rooms. `size.json` has the records. `deno test --allow-read --allow-write=tests/house
 * tests/house/size_test.ts -- --record` lowers those that fell.
 */
import { assert, assertEquals } from "@std/assert";
import { arrowsOf, circlesOf, floorsOf, type Graph, graphOf } from "../helpers/graph.ts";
import {
  closureOf,
  type Import,
  importsOf,
  parseSource,
  pathsBelow,
  ROOT,
  sourceOf,
} from "../helpers/sources.ts";

const RECORDS = new URL("size.json", import.meta.url);
const PRODUCT = ["main.ts", "ffi", "lib", "scripts"].flatMap(pathsBelow);
const TESTS = pathsBelow("tests");
const MEASURED = closureOf(["main.ts"]);
/** What handles keys: the SDK process, and the session key in the main process. */
const KEY_PATH = closureOf([
  "lib/enclave/kms/sdk_process/process_main.ts",
  "lib/enclave/session_key/session_key.ts",
]);

/** Lines of the list of mutants, which is not TypeScript. */
const MUTANTS =
  Deno.readTextFileSync(`${ROOT}tests/mutation/mutants.txt`).split("\n").filter((line) => line !== "").length;

const linesOf = (paths: readonly string[]) => paths.reduce((sum, path) => sum + sourceOf(path).lines, 0);
const longOf = (paths: readonly string[]) => paths.reduce((sum, path) => sum + sourceOf(path).long.length, 0);

/** The wing that a file of the product is in: what is on one level of trust. */
function wingOf(path: string): string {
  return /^(ffi|scripts|lib\/[a-z]+(?=[/_.])|main\.ts)/.exec(path)?.[0] ?? path;
}
const FOLDER = (path: string) => path.slice(0, path.lastIndexOf("/"));
const NEXT = (path: string) => importsOf(path).map(({ to }) => to);
/** The one command that starts what is simulated: the walls let it import upwards. */
const EMULATOR = "lib/ctl/commands/emulator.ts";
/** Imports that may lead upwards, on demand or of that command. The picture has them as dotted arrows. */
const isUpwards = ({ from, to, kind }: Import) =>
  kind === "dynamic" || (from === EMULATOR && to.startsWith("lib/dev/"));
/** What rooms import as they start, types included. */
const NEXT_AT_START = (path: string) => importsOf(path).filter((one) => !isUpwards(one)).map(({ to }) => to);

const ROOMS = graphOf(PRODUCT, NEXT_AT_START, wingOf);
const CIRCLES: readonly (readonly [string, Graph])[] = [
  ["rooms", ROOMS],
  ...["lib/enclave", "lib/shared", "lib/ctl", "lib/dev"].map((wing) =>
    [`folders of ${wing}`, graphOf(pathsBelow(wing), NEXT_AT_START, FOLDER)] as const
  ),
  ["files", graphOf(PRODUCT, NEXT)],
];

const FIGURES: Readonly<Record<string, number>> = {
  "measured lines": linesOf(MEASURED),
  "measured modules": MEASURED.length,
  "key path lines": linesOf(KEY_PATH),
  "product lines": linesOf(PRODUCT),
  "test lines": linesOf(TESTS) + MUTANTS,
  "long lines of the product": longOf(PRODUCT),
  "long lines of tests": longOf(TESTS),
  "rooms": ROOMS.size,
  "floors": Math.max(...floorsOf(ROOMS).values()),
  ...Object.fromEntries(
    CIRCLES.map(([what, graph]) => [`${what} in circles`, circlesOf(graph).flat().length]),
  ),
};

let records = JSON.parse(Deno.readTextFileSync(RECORDS)) as Readonly<Record<string, number>>;
if (Deno.args.includes("--record")) {
  const lower = ([what, figure]: [string, number]) =>
    [what, Math.min(figure, records[what] ?? figure)] as const;
  records = Object.fromEntries(Object.entries(FIGURES).map(lower));
  Deno.writeTextFileSync(RECORDS, `${JSON.stringify(records, null, 2)}\n`);
}

Deno.test("every figure has a record", () => assertEquals(Object.keys(records), Object.keys(FIGURES)));

for (const [what, figure] of Object.entries(FIGURES)) {
  const record = records[what] ?? 0;
  const circles = CIRCLES.filter(([name]) => what === `${name} in circles`).flatMap(([, graph]) =>
    circlesOf(graph)
  );
  // The name is what prints the figure.
  Deno.test(`${what}: ${figure}, and the record is ${record}${circles.map((circle) => `; ${circle.join(" and ")}`).join("")}`, () => {
    assert(
      figure <= record,
      `${figure} is more than the record, ${record}. Make it less; or raise the record in tests/house/size.json, and give the reason in the commit's message`,
    );
    assert(
      figure >= Math.floor(record * 0.99),
      `${figure} is more than 1 % below the record, ${record}. Lower the record: deno test --allow-read --allow-write=tests/house tests/house/size_test.ts -- --record`,
    );
  });
}

const FLOORS = floorsOf(ROOMS);
const PLAN = [...FLOORS].sort(([, a], [, b]) => b - a).map(([room, floor]) => `${floor} ${room}`).join(", ");
Deno.test(`there are at most 12 rooms on at most 6 floors: ${PLAN}`, () => {
  assert(ROOMS.size <= 12);
  assert(Math.max(...FLOORS.values()) <= 6);
});

Deno.test("the picture in docs/architecture.md has the rooms, and an arrow for each import that no path of arrows shows", () => {
  const page = Deno.readTextFileSync(`${ROOT}docs/architecture.md`);
  const [, picture = ""] = /```mermaid\nflowchart TB\n([^]*?)```/.exec(page) ?? [];
  const rooms = new Map(
    [...picture.matchAll(/(\w+)\["([\w/.]+)/g)].map(([, id = "", room = ""]) => [id, room]),
  );
  assertEquals([...rooms.values()].sort(), [...ROOMS.keys()].sort());
  const drawn = (arrow: RegExp) =>
    [...picture.matchAll(arrow)].map(([, from = "", to = ""]) => `${rooms.get(from)} --> ${rooms.get(to)}`)
      .sort();
  assertEquals(drawn(/^ *(\w+) --> (\w+)$/gm), arrowsOf(ROOMS));
  const upwards = PRODUCT.flatMap(importsOf).filter(isUpwards).map((
    { from, to },
  ) => [wingOf(from), wingOf(to)])
    .filter(([from = "", to = ""]) => from !== to && !ROOMS.get(from)?.has(to));
  assertEquals(
    drawn(/^ *(\w+) -\. [^\n]*\.-> (\w+)$/gm),
    [...new Set(upwards.map(([from, to]) => `${from} --> ${to}`))].sort(),
  );
});

const SAMPLES: readonly (readonly [string, string, number])[] = [
  ["blank lines", "let a;\n\n  \nlet b;\n", 2],
  ["comments", "// a\nlet a; // b\n/* c\n d */ let b;\n/** e\n * f\n */\n", 2],
  [
    "marks of comments in strings",
    `const a = "/* ";\nconst b = '// ';\nconst c = \`\n/*\n\${1 /* d */}\n*/\`;\n`,
    6,
  ],
  ["marks of comments in regular expressions", "const a = /[/*]/;\nconst b = 1; // */\n", 2],
  [
    "characters of two code units before a comment",
    'const a = "\u{1f389}"; // b\n/* \u{1f389} */\n// c\n',
    1,
  ],
];
for (const [what, text, lines] of SAMPLES) {
  Deno.test(`lines are counted rightly with ${what}`, () => assertEquals(parseSource(text).lines, lines));
}

Deno.test("a long line counts, unless code with a literal makes it long", () => {
  const long = "a".repeat(111);
  const text = [
    `let ${long};`,
    `let a = "${long}";`,
    `let b = "b"; // ${long}`,
    `// "${long}"`,
    `f(\`${long}\n${long}\`)`,
  ];
  assertEquals(parseSource(text.join("\n")).long, [1, 3, 4]);
});

Deno.test("every form of import is seen, and is a value, a type or dynamic", () => {
  const text =
    `import { a } from "1"; import type { A } from "2"; import { type B } from "3"; export * from "4";
    export type { C } from "5"; export { c } from "6"; const d = await import("7"); let e: import("8").E; import "9"; // import "10"`;
  const kinds = parseSource(text).imports.map(({ specifier, kind }) => `${specifier} ${kind}`).sort();
  assertEquals(kinds, [
    ...["1 value", "2 type", "3 value", "4 value", "5 type", "6 value", "7 dynamic", "8 type", "9 value"],
  ]);
});

Deno.test("circles, floors and arrows of a small house", () => {
  const imports: Readonly<Record<string, readonly string[]>> = {
    a: ["b", "c", "d"],
    b: ["d"],
    c: ["d", "e"],
    d: [],
    e: ["c"],
  };
  const house = graphOf(Object.keys(imports), (node) => imports[node] ?? []);
  assertEquals(circlesOf(house), [["c", "e"]]);
  assertEquals(Object.fromEntries(floorsOf(house)), { a: 3, b: 2, c: 2, d: 1, e: 2 });
  const open = graphOf(["a", "b", "d"], (node) => imports[node] ?? []);
  assertEquals(arrowsOf(open), ["a --> b", "b --> d"]);
});
