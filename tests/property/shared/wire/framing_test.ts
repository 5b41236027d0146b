/** Properties of framing. A failure prints the seed and path that fast-check needs to repeat it. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  encodeMessage,
  FrameDecoder,
  type Framing,
  MessageEncoder,
} from "../../../../lib/shared/wire/framing.ts";
import { runs } from "../../../helpers/effort.ts";
import { capacityOf, cuts, pieces, push } from "../../../helpers/pieces.ts";

const framings = fc.constantFrom<Framing>("u64le", "u32be", "raw");
const RUNS = runs(500);

Deno.test("any JSON object, in any framing and any split, comes out as it went in", () => {
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { minLength: 1, maxLength: 4 }),
      framings,
      cuts,
      (documents, framing, lengths) => {
        const values = documents.map((document) => JSON.parse(JSON.stringify(document)));
        const decoder = new FrameDecoder();
        const seen: unknown[] = [];
        const take = () => {
          for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
            assert("body" in frame, JSON.stringify(frame));
            seen.push(JSON.parse(new TextDecoder().decode(frame.body)));
          }
        };
        const bytes = new Uint8Array(values.flatMap((value) => [...encodeMessage(framing, value)]));
        for (const piece of pieces(bytes, lengths)) {
          push(decoder, piece);
          take();
        }
        decoder.end();
        take();
        assertEquals(JSON.stringify(seen), JSON.stringify(values));
      },
    ),
    RUNS,
  );
});

Deno.test("any bytes at all, in any split, neither throw nor hang nor hold more than the cap", () => {
  const maxLength = 500;
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 3_000 }),
    fc.array(fc.constantFrom(0, 0x22, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d, 0x0a, 0x31, 0xff), { maxLength: 3_000 })
      .map((bytes) => new Uint8Array(bytes)),
  );
  fc.assert(
    fc.property(anything, cuts, fc.boolean(), (bytes, lengths, ends) => {
      const decoder = new FrameDecoder(maxLength);
      let frames = 0;
      const take = () => {
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          if ("body" in frame) assert(frame.body.length <= maxLength);
          assert(++frames <= bytes.length + 1, "more documents than bytes");
        }
      };
      for (const piece of pieces(bytes, lengths)) {
        push(decoder, piece);
        take();
        assert(capacityOf(decoder) <= 16 * 1_024);
      }
      if (ends) decoder.end();
      take();
    }),
    RUNS,
  );
});

Deno.test("any messages, one after the other in any framing, leave an encoder as they leave a new one", () => {
  const encoder = new MessageEncoder();
  fc.assert(
    fc.property(
      fc.oneof(fc.json(), fc.string({ maxLength: 30_000 }), fc.string({ unit: "binary" })),
      framings,
      (value, framing) => {
        const json = JSON.stringify(value);
        const middle = Math.floor(json.length / 2);
        const pieces = isLowSurrogate(json, middle) ? [json] : [json.slice(0, middle), json.slice(middle)];
        assertEquals(encoder.encode(framing, pieces), encodeMessage(framing, value));
      },
    ),
    RUNS,
  );
});

function isLowSurrogate(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  return unit >= 0xdc00 && unit <= 0xdfff;
}

Deno.test("a decoder that bytes are written into in any pieces holds no more than its limit allows, up to large documents", () => {
  const maxLength = 100_000;
  const headers = fc.constantFrom(
    [0x60, 0x86, 1, 0, 0, 0, 0, 0],
    [0, 1, 0x86, 0xa0],
    [0, 1, 0x86, 0xa1],
    [0x7b, 0x22],
    [0x22],
    [0x5b],
    [0x31],
  );
  fc.assert(
    fc.property(
      headers,
      fc.constantFrom(0x20, 0x31, 0x22, 0x5c, 0x7b),
      fc.integer({ min: 0, max: 250_000 }),
      fc.integer({ min: 1_000, max: 60_000 }),
      (header, filler, length, piece) => {
        const decoder = new FrameDecoder(maxLength);
        const bytes = new Uint8Array(header.length + length).fill(filler);
        bytes.set(header);
        for (let at = 0; at < bytes.length;) {
          const space = decoder.space();
          assert(space.length > 0);
          const part = bytes.subarray(at, at + Math.min(piece, space.length));
          space.set(part);
          decoder.commit(part.length);
          at += part.length;
          for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
            if ("body" in frame) assert(frame.body.length <= maxLength);
          }
          assert(capacityOf(decoder) <= maxLength + 9, String(capacityOf(decoder)));
        }
      },
    ),
    runs(100),
  );
});
