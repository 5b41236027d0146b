/**
 * The documents: link targets exist, paths and quoted messages exist, and every command block is run by a
 * test or gives the reason why not.
 */
import { assert, assertEquals } from "@std/assert";
import { commandBlocks } from "../helpers/documented.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFile(`${ROOT}${path}`);

async function* files(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${folder}`)) {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (!isDirectory) yield path;
    else if (!["build", "dist", "node_modules", "target", "data"].includes(name)) yield* files(path);
  }
}

async function list(folder: string, ending: string): Promise<readonly string[]> {
  return (await Array.fromAsync(files(folder))).filter((path) => path.endsWith(ending)).sort();
}

const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "SECURITY.md",
  ...await list("docs", ".md"),
  ...await list("clients", ".md"),
  ...await list("examples", ".md"),
  "tests/README.md",
];

/** A document's lines that are text, without code. */
function proseOf(markdown: string): readonly string[] {
  let fenced = false;
  return markdown.split("\n").filter((line) => {
    if (/^\s*```/.test(line)) return fenced = !fenced, false;
    return !fenced;
  });
}

/** The anchors that GitHub gives a document's headings. */
function anchorsOf(markdown: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const line of proseOf(markdown)) {
    const [, title] = /^#{1,6} (.*)$/.exec(line) ?? [];
    if (title === undefined) continue;
    const text = title.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").trim().toLowerCase();
    const slug = text.replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    let anchor = slug;
    for (let again = 1; anchors.has(anchor); again++) anchor = `${slug}-${again}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Inline code of a line. */
const codeOf = (line: string) => [...line.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);

for (const document of DOCUMENTS) {
  Deno.test(`every relative link of ${document} leads to a file and a heading that are there`, async () => {
    const broken: string[] = [];
    const markdown = await read(document);
    for (const line of proseOf(markdown)) {
      for (const [, target = ""] of line.replace(/`[^`]*`/g, "").matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const url = new URL(target, `file:///${document}`);
        const path = url.pathname.slice(1);
        const exists = await Deno.stat(`${ROOT}${path}`).then(() => true, () => false);
        const anchor = decodeURIComponent(url.hash.slice(1));
        const isThere = anchor === "" ||
          (exists && path.endsWith(".md") && anchorsOf(await read(path)).has(anchor));
        if (!exists || !isThere) broken.push(target);
      }
    }
    assertEquals(broken, []);
  });

  Deno.test(`every path of this repository in ${document} exists`, async () => {
    const missing: string[] = [];
    for (const code of proseOf(await read(document)).flatMap(codeOf)) {
      const [path] = /^(?:lib|ffi|tests|scripts|docs|examples|config|\.ci|\.github)\/[\w./-]+$/.exec(code) ??
        [];
      // What a build makes is not in a clone.
      if (path === undefined || /^tests\/\w+\/build\b/.test(path)) continue;
      if (!await Deno.stat(`${ROOT}${path}`).then(() => true, () => false)) missing.push(path);
    }
    assertEquals(missing, []);
  });
}

Deno.test("no statement of a sequence diagram has a semicolon, which would end it", async () => {
  for (const document of DOCUMENTS) {
    for (
      const [, diagram = ""] of (await read(document)).matchAll(
        /^```mermaid\nsequenceDiagram\n([\s\S]*?)^```/gm,
      )
    ) {
      assertEquals(diagram.split("\n").filter((line) => line.includes(";")), [], document);
    }
  }
});

/** Documents that an end-to-end test runs. */
async function documentsWithTest(): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const path of await list("tests/e2e", "_test.ts")) {
    const source = await read(path);
    if (!source.includes("helpers/documented.ts")) continue;
    for (const [, document = ""] of source.matchAll(/"([\w/-]+\.md)"/g)) found.add(document);
  }
  return found;
}

Deno.test("every block of commands is run by a test, or says why not", async () => {
  const withTest = await documentsWithTest();
  assert(withTest.size > 0);
  const untested: string[] = [];
  for (const document of DOCUMENTS) {
    const fences = (await read(document)).split("\n").filter((line) =>
      /^\s*```(?:bash|shell|console)\b/.test(line)
    );
    assertEquals(fences, [], `${document}: commands are in sh blocks`);
    for (const { line, norun } of await commandBlocks(document)) {
      if (norun === undefined && !withTest.has(document)) untested.push(`${document}:${line}`);
    }
  }
  assertEquals(untested, []);
});

Deno.test("every message in the first column of the troubleshooting tables is in the code", async () => {
  const code = await Promise.all(
    [...await list("lib", ".ts"), ...await list("ffi", ".ts"), ...await list("scripts", ""), "main.ts"]
      .map(read),
  );
  // A message that is broken over lines in the source, or quoted in it, is the same message.
  const source = code.join("\n").replace(/["`] \+\s*["`]/g, "").replaceAll('\\"', '"');
  const rows = proseOf(await read("docs/troubleshooting.md")).filter((line) => line.startsWith("| `"));
  assert(rows.length > 20);
  const unknown = rows.flatMap((row) => codeOf(row.split(" | ")[0] ?? ""))
    .flatMap((message) => message.split("…")).map((piece) => piece.trim())
    .filter((piece) => piece !== "" && !source.includes(piece));
  assertEquals(unknown, []);
});
