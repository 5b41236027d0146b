/** Framing: detection, the three framings, limits. */
import { MAX_DEPTH } from "../../../../lib/shared/wire/json_shape.ts";
import { assert, assertEquals } from "@std/assert";
import {
  detectFraming,
  encodeMessage,
  type Frame,
  FrameDecoder,
  type Framing,
  MessageEncoder,
} from "../../../../lib/shared/wire/framing.ts";
import { capacityOf, push } from "../../../helpers/pieces.ts";

const encoder = new TextEncoder();
const FRAMINGS: readonly Framing[] = ["u64le", "u32be", "raw"];

function text(frame: Frame | undefined): string | undefined {
  return frame !== undefined && "body" in frame ? new TextDecoder().decode(frame.body) : undefined;
}

function problem(frame: Frame | undefined): string | undefined {
  return frame !== undefined && "problem" in frame
    ? `${frame.problem}, ${frame.recoverable ? "recoverable" : "final"}`
    : undefined;
}

/** All documents in these bytes. */
function decodeAll(bytes: Uint8Array, maxLength = 1_000): (string | undefined)[] {
  const decoder = new FrameDecoder(maxLength);
  push(decoder, bytes);
  const documents: (string | undefined)[] = [];
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
    documents.push(text(frame) ?? problem(frame));
  }
  return documents;
}

const DETECTED: readonly (readonly [string, readonly number[], Framing | undefined])[] = [
  ["nothing", [], undefined],
  ["a u64 length", [0x0f, 0, 0, 0, 0, 0, 0, 0], "u64le"],
  ["a u64 length that looks like a brace", [0x7b, 0, 0, 0, 0, 0, 0, 0], "u64le"],
  ["a u64 length with a zero low byte", [0, 1, 0, 0, 0, 0, 0, 0], "u64le"],
  ["a u32 length and JSON", [0, 0, 0, 0x0f, 0x7b], "u32be"],
  ["a u32 length beyond 16 MiB", [0x01, 0x31, 0x2d, 0x28, 0x7b], "u32be"],
  ["a u32 length of 160 MiB, which begins as a tab", [0x0a, 0, 0, 0, 0x7b], "u32be"],
  ["a u32 length without a NUL", [0x0a, 0x0b, 0x0c, 0x0d, 0x7b], "u32be"],
  ["JSON", [0x7b, 0x22, 0x74, 0x79, 0x70], "raw"],
  ["JSON after white space", [0x0a, 0x20, 0x7b, 0x22, 0x74], "raw"],
  [
    "a TLS record, which no u32 length within the limits begins like",
    [0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
    "raw",
  ],
  ["too little to say", [0x7b, 0x7d], undefined],
  ["four bytes of a u32 length", [0, 0, 0, 0x0f], undefined],
  ["half of a u64 length", [0x0f, 0, 0, 0, 0, 0], undefined],
];
for (const [what, bytes, expected] of DETECTED) {
  Deno.test(`${what} is detected as ${expected ?? "undecided"}`, () =>
    assertEquals(detectFraming(new Uint8Array(bytes)), expected));
}

for (const framing of FRAMINGS) {
  Deno.test(`${framing}: a document of the largest size passes, one byte more is too large`, () => {
    const fits = { a: "x".repeat(92) };
    const message = encodeMessage(framing, fits);
    const overhead = JSON.stringify(fits).length;
    assertEquals(decodeAll(message, overhead).map((document) => document?.length), [overhead]);
    const [first] = decodeAll(message, overhead - 1);
    assertEquals(first, `too_large, ${framing === "raw" ? "final" : "recoverable"}`);
  });

  Deno.test(`${framing}: consumed bytes are zeroed`, () => {
    const decoder = new FrameDecoder();
    push(decoder, encodeMessage(framing, { secret: "value" }));
    const frame = decoder.next();
    assert(frame !== undefined && "body" in frame);
    decoder.release();
    assertEquals(frame.body.every((byte) => byte === 0), true);
  });
}

Deno.test("a reply's header and body are one piece of memory", () => {
  assertEquals([...encodeMessage("u32be", { a: 1 }).subarray(0, 5)], [0, 0, 0, 7, 0x7b]);
  assertEquals([...encodeMessage("u64le", { a: 1 }).subarray(0, 9)], [7, 0, 0, 0, 0, 0, 0, 0, 0x7b]);
  assertEquals(new TextDecoder().decode(encodeMessage("raw", { a: "ü" })), '{"a":"ü"}\n');
});

for (
  const [what, header] of [["2^32 - 1", [255, 255, 255, 255]], ["just over the limit", [0, 0, 4, 1]]] as const
) {
  Deno.test(`a u32 length of ${what} allocates nothing for it`, () => {
    const decoder = new FrameDecoder(1_024);
    push(decoder, encodeMessage("u32be", { a: 1 }));
    decoder.next();
    decoder.release();
    const before = capacityOf(decoder);
    push(decoder, new Uint8Array(header));
    assertEquals([problem(decoder.next()), capacityOf(decoder)], ["too_large, recoverable", before]);
  });
}

for (const [what, high] of [["2^53", [0, 0, 32, 0]], ["2^64 - 1", [255, 255, 255, 255]]] as const) {
  Deno.test(`a u64 length of ${what} on a u64 connection is refused for good`, () => {
    const decoder = new FrameDecoder(1_024);
    push(decoder, encodeMessage("u64le", { a: 1 }));
    decoder.next();
    push(decoder, new Uint8Array([what === "2^53" ? 1 : 255, 0, 0, 0, ...high]));
    assertEquals(problem(decoder.next()), "too_large, final");
    push(decoder, new Uint8Array(5_000));
    assertEquals([decoder.next(), decoder.pending], [undefined, false]);
  });
}

Deno.test("an oversized framed document is thrown away as it comes, and the next one decoded", () => {
  const decoder = new FrameDecoder(1_024);
  const large = encodeMessage("u32be", { a: "x".repeat(300_000) });
  push(decoder, large.subarray(0, 1_000));
  assertEquals(problem(decoder.next()), "too_large, recoverable");
  for (let at = 1_000; at < large.length; at += 7_000) {
    push(decoder, large.subarray(at, at + 7_000));
    assertEquals(decoder.next(), undefined);
  }
  push(decoder, encodeMessage("u32be", { b: 2 }));
  assertEquals(text(decoder.next()), '{"b":2}');
  assert(capacityOf(decoder) <= 16 * 1_024);
});

Deno.test("memory grows with what arrives, not with what is promised, and shrinks when documents are small again", () => {
  const decoder = new FrameDecoder(4 * 1_024 * 1_024);
  const message = encodeMessage("u64le", { a: "x".repeat(1_000_000) });
  push(decoder, message.subarray(0, 100));
  decoder.next();
  assert(capacityOf(decoder) < 100_000);
  push(decoder, message.subarray(100));
  assertEquals(text(decoder.next())?.length, 1_000_008);
  decoder.release();
  assert(capacityOf(decoder) <= 1_100_000);
  push(decoder, encodeMessage("u64le", { a: "small" }));
  decoder.next();
  decoder.release();
  assert(capacityOf(decoder) < 100_000);
});

Deno.test("memory that a decoder or an encoder gives up is free at once, whoever still refers to a part of it", () => {
  const message = encodeMessage("u32be", { a: "x".repeat(1_000_000) });
  const decoder = new FrameDecoder();
  push(decoder, message);
  const frame = decoder.next();
  assert(frame !== undefined && "body" in frame && frame.body.length > 1_000_000);
  decoder.release();
  decoder.trim(0);
  const messageEncoder = new MessageEncoder();
  const encoded = messageEncoder.encode("u32be", ["x".repeat(1_000_000)]);
  messageEncoder.trim(0);
  assertEquals([frame.body.buffer.byteLength, encoded.buffer.byteLength], [0, 0]);
});

Deno.test("raw: newline, white space and NUL between documents are passed over", () => {
  assertEquals(decodeAll(encoder.encode('{"a":1}\n\r\n\0 {"b":2}\0{"c":3}')), [
    '{"a":1}',
    '{"b":2}',
    '{"c":3}',
  ]);
});

Deno.test("raw: a string ends at its closing quote, however it is escaped", () => {
  const documents = ['{"a":"\\""}', '{"a":"\\\\"}', '{"a":"\\\\\\""}', '{"\\"}":"{["}'];
  assertEquals(decodeAll(encoder.encode(documents.join(""))), documents);
});

Deno.test("raw: brackets that are nested too deep are refused", () => {
  const deepest = MAX_DEPTH - 1;
  const deep = `{"a":${"[".repeat(deepest)}${"]".repeat(deepest)}}`;
  assertEquals(decodeAll(encoder.encode(deep.replace("[", "[["))), ["not_json, final"]);
  assertEquals(decodeAll(encoder.encode(deep)), [deep]);
});

Deno.test("raw: a document that only the end of the stream can finish says so, and is then there", () => {
  for (const document of ["{}", "{ }"]) {
    const decoder = new FrameDecoder();
    push(decoder, encoder.encode(document));
    assertEquals([decoder.next(), decoder.ambiguous], [undefined, true]);
    decoder.end();
    assertEquals(text(decoder.next()), document);
  }
});

const NOT_OBJECTS: readonly (readonly [string, string, string])[] = [
  ["a number", "42", ""],
  ["a list", '[{"a":1}]', ""],
  ["text", '"{}"', ""],
  ["a word", "true ", ""],
  ["a bracket that closes", "}{}", ""],
  ["a byte order mark", '\ufeff{"a":1}', ""],
  ["white space and NULs, then a word", " \n\0\0 hello", ""],
  ["HTTP", "GET / HTTP/1.1\r\n\r\n", "HTTP"],
  ["an HTTP POST", "POST / HTTP/1.1\r\n\r\n", "HTTP"],
  ["a browser's preflight", "OPTIONS / HTTP/1.1\r\n\r\n", "HTTP"],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"],
  ["SSH", "SSH-2.0-OpenSSH_9.6\r\n", "SSH"],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"],
];
for (const [what, beginning, protocol] of NOT_OBJECTS) {
  for (
    const [where, before] of [["a connection", ""], ["what follows a raw document", '{"first":1}\n']] as const
  ) {
    Deno.test(`raw: ${where} that begins as ${what} loses the stream${protocol && `, named as ${protocol}`}`, () => {
      const decoder = new FrameDecoder();
      const bytes = `${before}${beginning}\n{"type":"ping"}\n`;
      push(decoder, what === "TLS" ? latin1(bytes) : encoder.encode(bytes));
      if (where === "a connection") decoder.end();
      else assertEquals(text(decoder.next()), before.trim());
      const lost = decoder.next();
      assert(lost !== undefined && "problem" in lost);
      assertEquals(problem(lost), "not_json, final");
      assertEquals(/speak (\w+)/.exec(lost.details)?.[1] ?? "", protocol);
      assertEquals([decoder.next(), decoder.pending], [undefined, false]);
    });
  }
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

Deno.test("raw: a document that is cut off is an error at the end of the stream", () => {
  const decoder = new FrameDecoder();
  push(decoder, encoder.encode('{"type":"pi'));
  assertEquals([decoder.next(), decoder.ambiguous], [undefined, false]);
  decoder.end();
  assertEquals(problem(decoder.next()), "not_json, final");
});

Deno.test("raw: a mebibyte in pieces of one byte is scanned once, not once a piece", () => {
  const message = encodeMessage("raw", { a: "\\".repeat(200_000), b: "x".repeat(600_000) });
  const decoder = new FrameDecoder(2 * 1_024 * 1_024);
  const started = performance.now();
  let found: Frame | undefined;
  for (let at = 0; at < message.length && found === undefined; at++) {
    push(decoder, message.subarray(at, at + 1));
    found = decoder.next();
  }
  assertEquals(text(found)?.length, message.length - 1);
  // A quadratic scan takes minutes; this is no measurement.
  assert(performance.now() - started < 20_000);
});

Deno.test("a raw document without an end is refused when it is over the limit, however it is made", () => {
  for (const endless of ['{"a":"', '{"a":[1,', '{"a":']) {
    const decoder = new FrameDecoder(1_000);
    push(decoder, encoder.encode(endless + "7".repeat(1_001 - endless.length)));
    assertEquals([problem(decoder.next()), decoder.pending], ["too_large, final", false]);
  }
});

Deno.test("there always is room to write into, also with more waiting than one document may have", () => {
  const decoder = new FrameDecoder(1_000);
  const messages = encodeMessage("u32be", { a: "x".repeat(500) });
  for (let count = 0; count < 40; count++) {
    // push() itself hangs here.
    for (let at = 0; at < messages.length;) {
      const space = decoder.space();
      assert(space.length > 0, `no room after ${count} messages`);
      const piece = messages.subarray(at, at + space.length);
      space.set(piece);
      decoder.commit(piece.length);
      at += piece.length;
    }
  }
});

Deno.test("a short first document with a NUL after it is raw", () => {
  const decoder = new FrameDecoder();
  push(decoder, new TextEncoder().encode('{}\0{"type":"ping"}\0'));
  const first = decoder.next();
  assertEquals([decoder.framing, first !== undefined && "body" in first], ["raw", true]);
});
