/**
 * The repository's TypeScript as data: lines of code, lines that are too long, and imports. The linter's
 * parser reads it, so a comment in a string is no comment.
 *
 * @module
 */

/** The root of the repository. */
export const ROOT = new URL("../../", import.meta.url).pathname;
/** A longer line can be broken, unless a literal makes it long. */
const WIDTH = 110;

/** What of a module is imported: `type` is gone after compiling, `dynamic` is loaded when it is needed. */
export type ImportKind = "value" | "type" | "dynamic";

/** What a file is made of. */
export interface Source {
  /** Lines with something other than comments on them. */
  readonly lines: number;
  /** Numbers of the lines that are longer than 110, though they could be broken. */
  readonly long: readonly number[];
  /** Specifiers as written. */
  readonly imports: readonly { readonly specifier: string; readonly kind: ImportKind }[];
}

/** Parses a file. */
export function parseSource(text: string, path = "main.ts"): Source {
  const imports: { specifier: string; kind: ImportKind }[] = [];
  const literals: Deno.lint.Range[] = [];
  let comments: readonly Deno.lint.Range[] = [];
  const add = (node: object | null, kind: ImportKind) => {
    if (node !== null && "value" in node && typeof node.value === "string") {
      imports.push({ specifier: node.value, kind });
    }
  };
  const create = ({ sourceCode }: Deno.lint.RuleContext): Deno.lint.LintVisitor => {
    comments = sourceCode.getAllComments().map(({ range }) => range);
    return {
      Literal: ({ range }) => void literals.push(range),
      TemplateLiteral: ({ range }) => void literals.push(range),
      ImportDeclaration: ({ source, importKind }) => add(source, importKind),
      ExportNamedDeclaration: ({ source, exportKind }) => add(source, exportKind),
      ExportAllDeclaration: ({ source, exportKind }) => add(source, exportKind),
      ImportExpression: ({ source }) => add(source, "dynamic"),
      TSImportType: ({ argument }) => add("literal" in argument ? argument.literal : null, "type"),
    };
  };
  Deno.lint.runPlugin({ name: "sources", rules: { read: { create } } }, `${ROOT}${path}`, text);
  const code = blanked(text, comments).split("\n").map((line) => line.trimEnd());
  const unbreakable = blanked(text, literals).split("\n");
  return {
    lines: code.filter((line) => line !== "").length,
    long: text.split("\n").flatMap((line, index) => {
      const literalIsLong = (code[index] ?? "").length > WIDTH && unbreakable[index] !== line;
      return line.length > WIDTH && !literalIsLong ? [index + 1] : [];
    }),
    imports,
  };
}

/** A text with spaces in place of these ranges. */
function blanked(text: string, ranges: readonly Deno.lint.Range[]): string {
  let [rest, at] = ["", 0];
  for (const [from, to] of ranges) {
    if (from < at) continue;
    rest += text.slice(at, from) + text.slice(from, to).replace(/[^\n]/g, " ");
    at = to;
  }
  return rest + text.slice(at);
}

/** Paths of the TypeScript below a folder or of one file, from the root, without what builds make. */
export function pathsBelow(path: string): readonly string[] {
  if (path.endsWith(".ts")) return [path];
  return [...Deno.readDirSync(`${ROOT}${path}`)].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return /^(build|dist|node_modules)$/.test(name) ? [] : pathsBelow(`${path}/${name}`);
    return name.endsWith(".ts") ? [`${path}/${name}`] : [];
  }).sort();
}

/** An import of a file of this repository. */
export interface Import {
  readonly from: string;
  readonly to: string;
  readonly kind: ImportKind;
}

const parsed = new Map<string, Source>();
const { imports: IMPORT_MAP } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  readonly imports: Readonly<Record<string, string>>;
};

/** A file of the repository, parsed once. */
export function sourceOf(path: string): Source {
  const source = parsed.get(path) ?? parseSource(Deno.readTextFileSync(`${ROOT}${path}`), path);
  parsed.set(path, source);
  return source;
}

/** What a file imports from this repository, by the import map of `deno.json`. */
export function importsOf(from: string): readonly Import[] {
  return sourceOf(from).imports.flatMap(({ specifier, kind }) => {
    const mapped = IMPORT_MAP[specifier];
    const url = new URL(mapped ?? specifier, `file:///${mapped === undefined ? from : "deno.json"}`);
    const to = url.pathname.slice(1);
    return url.protocol === "file:" && to.endsWith(".ts") ? [{ from, to, kind }] : [];
  });
}

/**
 * The files that these files load when they start, themselves included; or that they import in other ways as
 * well.
 */
export function closureOf(
  entries: readonly string[],
  kinds: readonly ImportKind[] = ["value"],
): readonly string[] {
  const found = new Set(entries);
  for (const path of found) {
    for (const { to, kind } of importsOf(path)) if (kinds.includes(kind)) found.add(to);
  }
  return [...found].sort();
}
