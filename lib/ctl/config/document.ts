/**
 * Parses a YAML text into plain values with their positions. Only the subset of YAML that a configuration needs is accepted: no anchors, aliases,
 * merges, tags, directives, further documents or duplicate keys.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from "./deps/yaml.ts";
import { ConfigError, type ConfigProblem, type Position } from "./errors.ts";

/** The largest file, characters. */
const MAX_CONFIG_LENGTH = 64 * 1024;
const MAX_DEPTH = 8;
const MAX_MESSAGE_LENGTH = 200;
const START: Position = { line: 1, column: 1 };

/** A scalar value. */
export type Scalar = string | number | boolean | null;

/** A value and where it begins. */
export type ConfigValue =
  & { readonly at: Position }
  & (
    | { readonly kind: "scalar"; readonly value: Scalar }
    | { readonly kind: "list"; readonly items: readonly ConfigValue[] }
    | { readonly kind: "map"; readonly entries: ReadonlyMap<string, ConfigEntry> }
  );

/** A key's position, and its value. */
export interface ConfigEntry {
  readonly at: Position;
  readonly value: ConfigValue;
}

/**
 * Parses a text.
 *
 * @param file its name, for errors
 * @throws {ConfigError}
 */
export function parseYaml(text: string, file: string): ConfigValue {
  if (text.length > MAX_CONFIG_LENGTH) {
    throw new ConfigError(file, [{
      ...START,
      field: "",
      what: `the file has ${text.length} characters, at most ${MAX_CONFIG_LENGTH} are read`,
    }]);
  }
  const lines = new LineCounter();
  const positionOf = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return line === 0 ? START : { line, column: col };
  };
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    // Reported below, with the key's name.
    uniqueKeys: false,
    merge: false,
    version: "1.2",
    schema: "core",
  });
  const [broken] = [...document.errors, ...document.warnings];
  if (broken !== undefined) {
    // Only the first error: later ones are usually consequences of it.
    throw new ConfigError(file, [{ ...positionOf(broken.pos[0]), field: "", what: syntaxProblem(broken) }]);
  }
  if (document.directives?.yaml.explicit === true) {
    throw new ConfigError(file, [{ ...START, field: "", what: "YAML directives are not taken" }]);
  }
  const problems: ConfigProblem[] = [];
  const value = convert(document.contents, { path: "", depth: 0, at: START }, { positionOf, problems });
  if (problems.length > 0) throw new ConfigError(file, problems);
  return value;
}

/** The parser's message on one line. */
function syntaxProblem({ code, message }: { readonly code: string; readonly message: string }): string {
  if (code === "MULTIPLE_DOCS") return "a second document begins here";
  // The parser is recursive, and reports a stack overflow.
  if (/call stack/.test(message)) return "it is nested too deeply";
  const [line = ""] = message.split("\n");
  return `it is not valid YAML: ${line.slice(0, MAX_MESSAGE_LENGTH)}`;
}

interface Place {
  readonly path: string;
  readonly depth: number;
  /** The position to report if it is missing. */
  readonly at: Position;
}

interface Conversion {
  readonly positionOf: (offset: number) => Position;
  readonly problems: ConfigProblem[];
}

/** A field within another. */
export function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

function convert(node: unknown, place: Place, conversion: Conversion): ConfigValue {
  const { positionOf, problems } = conversion;
  const { path, depth } = place;
  const at = hasRange(node) ? positionOf(node.range[0]) : place.at;
  const refuse = (what: string): ConfigValue => {
    problems.push({ ...at, field: path, what });
    return { kind: "scalar", at, value: null };
  };
  if (node === null || node === undefined) return { kind: "scalar", at, value: null };
  if (isAlias(node)) return refuse("aliases (*name) are not taken: write the value again");
  if (depth > MAX_DEPTH) return refuse("it is nested too deeply");
  if (isScalar(node)) {
    if (node.anchor !== undefined) return refuse("anchors (&name) are not taken");
    if (node.tag !== undefined) return refuse("tags (!name) are not taken");
    const { value } = node;
    return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ||
        value === null
      ? { kind: "scalar", at, value }
      : refuse("it is not a text, number or truth value");
  }
  if (!isSeq(node) && !isMap(node)) return refuse("it is not a supported value");
  if (node.anchor !== undefined) return refuse("anchors (&name) are not taken");
  if (node.tag !== undefined) return refuse("tags (!name) are not taken");
  if (isSeq(node)) {
    const items = node.items.map((item, index) =>
      convert(item, { path: `${path}[${index}]`, depth: depth + 1, at }, conversion)
    );
    return { kind: "list", at, items };
  }
  const entries = new Map<string, ConfigEntry>();
  for (const { key, value } of node.items) {
    const keyAt = hasRange(key) ? positionOf(key.range[0]) : at;
    if (!isScalar(key) || typeof key.value !== "string") {
      problems.push({ ...keyAt, field: path, what: "a key must be a text" });
      continue;
    }
    const name = key.value;
    const field = join(path, name.slice(0, 64));
    if (name === "<<") {
      problems.push({ ...keyAt, field: path, what: "merges (<<) are not taken" });
    } else if (entries.has(name)) {
      problems.push({ ...keyAt, field, what: "it is given twice" });
    } else {
      const converted = convert(value, { path: field, depth: depth + 1, at: keyAt }, conversion);
      entries.set(name, { at: keyAt, value: converted });
    }
  }
  return { kind: "map", at, entries };
}

function hasRange(node: unknown): node is { readonly range: readonly [number, number, number] } {
  return typeof node === "object" && node !== null && "range" in node && Array.isArray(node.range);
}

/**
 * Reads a configuration file's text. Needs read permission for it.
 *
 * @throws {ConfigError}
 */
export async function readConfigText(file: string): Promise<string> {
  const refuse = (what: string) => new ConfigError(file, [{ line: 1, column: 1, field: "", what }]);
  let bytes: Uint8Array;
  try {
    using handle = await Deno.open(file);
    // Reads at most one byte more than allowed, which also bounds growing files and devices.
    const buffer = new Uint8Array(MAX_CONFIG_LENGTH + 1);
    let length = 0;
    for (let read: number | null = 0; read !== null && length < buffer.length; length += read ?? 0) {
      read = await handle.read(buffer.subarray(length));
    }
    bytes = buffer.subarray(0, length);
  } catch (thrown) {
    throw refuse(`it cannot be read: ${messageOf(thrown)}`);
  }
  if (bytes.length > MAX_CONFIG_LENGTH) {
    throw refuse(`the file has more than ${MAX_CONFIG_LENGTH} bytes, which are read at most`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw refuse("it is not UTF-8");
  }
}
