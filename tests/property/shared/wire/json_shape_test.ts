/** The shape of a document is that of its bytes, although it is measured on the decoded text. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { MAX_DEPTH, measureJson } from "../../../../lib/shared/wire/json_shape.ts";
import { decodeText, WireError } from "../../../../lib/shared/wire/messages.ts";
import { runs } from "../../../helpers/effort.ts";

const RUNS = runs(500);
const encoder = new TextEncoder();

/** Counts byte by byte, with a state for each thing that a byte can be in. */
function shapeOfBytes(bytes: Uint8Array): { readonly depth: number; readonly tokens: number } {
  let [depth, deepest, tokens, isString, isEscaped] = [0, 0, 0, false, false];
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    if (isString) {
      if (isEscaped) isEscaped = false;
      else if (character === "\\") isEscaped = true;
      else if (character === '"') isString = false;
    } else if (character === '"') isString = true;
    else if ("[{".includes(character)) {
      tokens += character === "{" ? 10 : 1;
      deepest = Math.max(deepest, ++depth);
      if (deepest > MAX_DEPTH) break;
    } else if ("]}".includes(character)) depth--;
    else if (",:".includes(character)) tokens++;
  }
  return { depth: deepest, tokens };
}

/** Text of pieces that could confuse a scanner, in any order: most of it is not JSON. */
const pieces = fc.array(
  fc.constantFrom(
    '"',
    "\\",
    '\\"',
    "\\\\",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "a",
    " ",
    "é",
    "語",
    "😀",
    "\ufeff",
    "\ufffd",
  ),
  { maxLength: 60 },
).map((list) => encoder.encode(list.join("")));
const deep = fc.integer({ min: MAX_DEPTH - 2, max: MAX_DEPTH + 3 }).map((depth) =>
  encoder.encode(`${"[".repeat(depth)}${"]".repeat(depth)},[`)
);
const json = fc.json().map((text) => encoder.encode(text));
/** UTF-8 that is cut in the middle of a character, before a byte that means something. */
const cutOff = fc.tuple(pieces, fc.constantFrom(0xc3, 0xe8, 0xf0, 0xff, 0x80), pieces).map((
  [before, byte, after],
) => Uint8Array.of(...before, byte, ...after));

Deno.test("the text of any document has the shape that its bytes have", () => {
  fc.assert(
    fc.property(fc.oneof(json, pieces, deep, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      let text: string;
      try {
        text = decodeText(bytes);
      } catch (thrown) {
        assert(thrown instanceof WireError, String(thrown));
        return;
      }
      assertEquals(measureJson(text), shapeOfBytes(bytes));
    }),
    RUNS,
  );
});

Deno.test("bytes that are not UTF-8 have no text: no decoder's repair hides a bracket or a quote", () => {
  fc.assert(
    fc.property(cutOff, (bytes) => {
      let isRefused = false;
      try {
        decodeText(bytes);
      } catch (thrown) {
        assert(thrown instanceof WireError);
        isRefused = true;
      }
      assert(isRefused);
    }),
    RUNS,
  );
});

Deno.test("a document never has more values than its shape says", () => {
  const count = (value: unknown): number => {
    if (typeof value !== "object" || value === null) return 1;
    return Object.values(value).reduce((sum: number, inner) => sum + count(inner), 1);
  };
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert(count(JSON.parse(text)) <= measureJson(text).tokens + 1);
    }),
    RUNS,
  );
});
