/**
 * Where a position in a compiled binary's bundle is in the source, by the source map that lies beside the binary.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/shared/cli/options.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { messageOf } from "../lib/shared/errors.ts";
import { VERSION } from "../lib/shared/version.ts";
import { sha256 } from "./bundle.ts";

const SPECS = [
  { name: "map", short: "m", value: "FILE", default: "dist/denclave.map", help: "the binary's source map" },
  { name: "binary", value: "FILE", help: "refuse the map unless it is of this binary" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: deno run --allow-read scripts/source_position.ts [options] <file>:<line>:<column>...

Where a position in an error of a compiled binary (denclave.js:12:3456) is in the source.

${helpLines(SPECS)}
`;

/** A place in a source file; line and column count from 1. */
interface SourcePosition {
  readonly source: string;
  readonly line: number;
  readonly column: number;
}

/** What is read of a source map, version 3. */
export interface SourceMap {
  readonly file: string;
  readonly sources: readonly string[];
  readonly mappings: string;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const CONTINUES = 32;

/** The numbers of one segment: base 64 digits of five bits, the lowest first, and the sign in the lowest bit of all. */
function decodeSegment(text: string): readonly number[] {
  const numbers: number[] = [];
  let value = 0;
  let scale = 1;
  for (const character of text) {
    const digit = DIGITS.indexOf(character);
    if (digit < 0) throw new RangeError(`${JSON.stringify(character)} in the mappings is not a base64 digit`);
    value += (digit % CONTINUES) * scale;
    scale *= 32;
    if (digit >= CONTINUES) continue;
    numbers.push(value % 2 === 1 ? -(value - 1) / 2 : value / 2);
    value = 0;
    scale = 1;
  }
  return numbers;
}

/**
 * Looks a position up. ECMA-426, "Source map format".
 *
 * @param line of the bundle, from 1
 * @param column from 1
 * @returns undefined where the map says nothing.
 */
export function sourcePosition(map: SourceMap, line: number, column: number): SourcePosition | undefined {
  let [source, sourceLine, sourceColumn] = [0, 0, 0];
  let found: SourcePosition | undefined;
  for (const [index, segments] of map.mappings.split(";").slice(0, line).entries()) {
    let generated = 0;
    for (const segment of segments.split(",")) {
      const [columns = 0, ...rest] = decodeSegment(segment);
      generated += columns;
      const [sources, lines, sourceColumns] = rest;
      if (sources === undefined || lines === undefined || sourceColumns === undefined) continue;
      source += sources;
      sourceLine += lines;
      sourceColumn += sourceColumns;
      if (index !== line - 1 || generated > column - 1) continue;
      found = { source: map.sources[source] ?? "?", line: sourceLine + 1, column: sourceColumn + 1 };
    }
  }
  return found;
}

async function readMap(path: string): Promise<SourceMap & { readonly binary_sha256?: unknown }> {
  try {
    const map = JSON.parse(await Deno.readTextFile(path)) as SourceMap;
    if (typeof map.mappings === "string" && Array.isArray(map.sources)) return map;
    throw new TypeError("it is not a source map");
  } catch (thrown) {
    throw new UsageError(
      `Cannot read ${path}: ${messageOf(thrown)}`,
      "The compile task writes it beside the binary; --map names another.",
    );
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv, undefined, { positionals: Infinity });
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  if (options.on("version")) return console.log(VERSION), EXIT.ok;
  if (options.positionals.length === 0) {
    throw new UsageError("Which position?", "Give <file>:<line>:<column>.");
  }
  const path = options.text("map") ?? "";
  const map = await readMap(path);
  const binary = options.text("binary");
  if (binary !== undefined && await sha256(binary) !== map.binary_sha256) {
    throw new UsageError(
      `${path} is not the source map of ${binary}`,
      "Take the map that was made with the binary, or compile the same commit again.",
    );
  }
  let exitCode: number = EXIT.ok;
  for (const text of options.positionals) {
    const [, file = "", line = "", column = ""] = /([^/:]+):([0-9]{1,9}):([0-9]{1,9})$/.exec(text) ?? [];
    if (file !== map.file) {
      throw new UsageError(`Cannot use ${JSON.stringify(text)}`, `Give ${map.file}:<line>:<column>.`);
    }
    const found = sourcePosition(map, Number(line), Number(column));
    if (found === undefined) exitCode = EXIT.failed;
    console.log(
      found === undefined ? `${text}: not in the map` : `${found.source}:${found.line}:${found.column}`,
    );
  }
  return exitCode;
}

if (import.meta.main) await runEntry(main);
