/** The memory cost of a document, estimated before it is parsed. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { FrameDecoder, type Framing } from "../../../../lib/shared/wire/framing.ts";
import { MAX_DEPTH, measureJson } from "../../../../lib/shared/wire/json_shape.ts";
import { decodeText, parseObject, parseText, WireError } from "../../../../lib/shared/wire/messages.ts";
import { push } from "../../../helpers/pieces.ts";

const encoder = new TextEncoder();

/** Runs something and counts the documents that reach the parser. */
function parsed(run: () => void): number {
  const { parse } = JSON;
  let count = 0;
  JSON.parse = (...args) => {
    count++;
    return parse(...args);
  };
  try {
    run();
  } finally {
    JSON.parse = parse;
  }
  return count;
}

/** A document as it comes out of a connection's decoder, or the problem with it. */
function throughDecoder(framing: Framing, body: Uint8Array): Uint8Array | string {
  const header = { u64le: 8, u32be: 4, raw: 0 }[framing];
  const message = new Uint8Array(header + body.length);
  const view = new DataView(message.buffer);
  if (framing === "u64le") view.setBigUint64(0, BigInt(body.length), true);
  if (framing === "u32be") view.setUint32(0, body.length);
  message.set(body, header);
  const decoder = new FrameDecoder();
  push(decoder, message);
  const frame = decoder.next();
  if (frame === undefined) return "incomplete";
  return "problem" in frame ? frame.problem : frame.body;
}

for (const framing of ["u64le", "u32be", "raw"] as const) {
  Deno.test(`5 million brackets in a ${framing} message never reach the parser`, () => {
    const body = new Uint8Array(5_000_000).fill(0x5b);
    const count = parsed(() => {
      const document = throughDecoder(framing, body);
      if (typeof document === "string") return assertEquals([framing, document], ["raw", "not_json"]);
      const error = assertThrows(() => parseObject(document), WireError);
      assertEquals(error.code, "invalid_json");
    });
    assertEquals(count, 0);
  });
}

Deno.test("the deepest document that is taken is parsed, one deeper is not, whatever the framing", () => {
  const nested = (depth: number) => encoder.encode(`{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`);
  for (const framing of ["u64le", "u32be", "raw"] as const) {
    const fits = throughDecoder(framing, nested(MAX_DEPTH));
    assertEquals(parsed(() => fits instanceof Uint8Array && parseObject(fits)), 1);
    const tooDeep = throughDecoder(framing, nested(MAX_DEPTH + 1));
    assertEquals(
      parsed(() =>
        tooDeep instanceof Uint8Array ? void assertThrows(() => parseObject(tooDeep), WireError) : undefined
      ),
      0,
    );
  }
});

/** The least of many rounds: other load on the machine only adds to it. Milliseconds. */
function leastTime(run: () => void): number {
  let least = Infinity;
  for (let round = 0; round < 200; round++) {
    const started = performance.now();
    run();
    least = Math.min(least, performance.now() - started);
  }
  return least;
}

Deno.test("measuring a message that is one long string takes less than a fifth of decoding and parsing it", () => {
  const body = encoder.encode(JSON.stringify({ type: "process", ciphertext: "a".repeat(512 * 1024) }));
  const text = decodeText(body);
  const measuring = leastTime(() => void measureJson(text));
  const rest = leastTime(() => void parseText(decodeText(body), { depth: 1, tokens: 4 }));
  assert(5 * measuring < rest, `${measuring} ms and ${rest} ms`);
});
