/** Frames between the service and its children. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../../../lib/shared/bytes.ts";
import { FrameReader, HEADER_LENGTH, newFrame } from "../../../../lib/enclave/children/frames.ts";

const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });

function frameOf(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = newFrame(content.length);
  frame.set(content, HEADER_LENGTH);
  return frame;
}

function readAll(chunks: readonly Uint8Array[], maxLength = 1_000): Uint8Array[] {
  const taken: Uint8Array[] = [];
  const reader = new FrameReader(maxLength);
  for (const chunk of chunks) for (const body of reader.push(chunk)) taken.push(body);
  return taken;
}

Deno.test("frames arrive as they were sent, however the pipe cuts them, and the pipe's buffers are wiped", () => {
  fc.assert(fc.property(bodies, fc.array(fc.nat(400), { maxLength: 20 }), (sent, cuts) => {
    const stream = concat(sent.map(frameOf));
    const chunks: Uint8Array[] = [];
    let at = 0;
    for (const cut of [...cuts, stream.length]) {
      chunks.push(stream.subarray(at, at + cut));
      at = Math.min(stream.length, at + cut);
    }
    assertEquals(readAll(chunks).map((body) => [...body]), sent.map((body) => [...body]));
    assert(stream.every((byte) => byte === 0));
  }));
});

Deno.test("what does not begin with the mark of a frame is refused, whatever came before it", () => {
  fc.assert(
    fc.property(bodies, fc.uint8Array({ minLength: HEADER_LENGTH, maxLength: 40 }), (sent, rubbish) => {
      fc.pre(rubbish[0] !== 0xfa);
      const stream = [...sent.map(frameOf).map((frame) => frame.slice()), rubbish];
      assertThrows(() => readAll(stream), RangeError, "not a frame");
    }),
  );
});

Deno.test("a frame that is longer than allowed is refused by its header, before memory is taken for it", () => {
  fc.assert(fc.property(fc.integer({ min: 101, max: 0xffff_ffff }), (length) => {
    const header = newFrame(0);
    new DataView(header.buffer).setUint32(4, length);
    assertThrows(() => readAll([header], 100), RangeError, `a frame of ${length} bytes`);
  }));
});

Deno.test("any bytes on a pipe end in messages or an error, and no message is larger than its bytes", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 8 }), (chunks) => {
    const arrived = chunks.reduce((sum, { length }) => sum + length, 0);
    let taken = 0;
    const reader = new FrameReader(1_000);
    try {
      for (const chunk of chunks) {
        for (const body of reader.push(chunk)) taken += HEADER_LENGTH + body.length;
      }
    } catch (thrown) {
      assert(thrown instanceof RangeError);
    }
    assert(taken <= arrived);
  }));
});
