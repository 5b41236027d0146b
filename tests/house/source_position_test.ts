/** Positions in a bundle, looked up in its source map; names of sources that say nothing of a machine. */
import { assertEquals, assertThrows } from "@std/assert";
import { EnclaveError, positionOf } from "../../lib/shared/errors.ts";
import { REPOSITORY, sourceName } from "../../scripts/bundle.ts";
import { sourcePosition } from "../../scripts/source_position.ts";

// Line 1: column 0 is a.ts 1:1; column 9 is b.ts 17:5. Line 3: column 2 is b.ts 16:1 (with a name); column 4
// is nobody's.
const MAP = { file: "bundle.js", sources: ["a.ts", "b.ts"], mappings: "AAAA,SCgBI;;EDDJC,E" };
// Written with negative steps: source -1, line -15, column -4 on line 3.
const FOUND: readonly (readonly [number, number, string | undefined])[] = [
  [1, 1, "a.ts:1:1"],
  [1, 9, "a.ts:1:1"],
  [1, 10, "b.ts:17:5"],
  [1, 9999, "b.ts:17:5"],
  [2, 1, undefined],
  [3, 1, undefined],
  [3, 3, "a.ts:16:1"],
  [9, 1, undefined],
];
for (const [line, column, expected] of FOUND) {
  Deno.test(`bundle.js:${line}:${column} is ${expected ?? "not in the map"}`, () => {
    const found = sourcePosition(MAP, line, column);
    assertEquals(found && `${found.source}:${found.line}:${found.column}`, expected);
  });
}

Deno.test("mappings that are no base 64 are refused", () => {
  assertThrows(() => sourcePosition({ ...MAP, mappings: "A!" }, 1, 1), RangeError);
});

Deno.test("a source is named within the repository or its package, wherever these are", () => {
  const names = [
    `file://${REPOSITORY}/lib/shared/errors.ts`,
    `..${REPOSITORY}/main.ts`,
    "../root/.cache/deno/npm/registry.example/@noble/curves/2.4.0/index.js",
    "/somewhere/else/x.js",
  ].map((source) => sourceName(source, "/tmp"));
  assertEquals(names, ["lib/shared/errors.ts", "main.ts", "npm:@noble/curves/2.4.0/index.js", "x.js"]);
});

Deno.test("an error's position is a file's name, line and column, and nothing of its message", () => {
  const position = positionOf(new TypeError("x\n    at file:///secret:1:2"));
  assertEquals(/^source_position_test\.ts:\d+:\d+$/.test(position ?? ""), true, position);
  const error = new EnclaveError("m", { code: "c" });
  error.stack =
    "EnclaveError: m\n    at ext:core:1:1\n    at f (file:///tmp/deno-compile-x/denclave.js:12:345)\n";
  assertEquals([positionOf(error), positionOf("text")], ["denclave.js:12:345", undefined]);
});
