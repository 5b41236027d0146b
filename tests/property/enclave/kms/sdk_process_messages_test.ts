/** Properties of the frames between the service and the SDK process. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { decodeFrames, encodeFrame } from "../../../../lib/enclave/kms/sdk_process/frames.ts";
import { cuts, pieces } from "../../../helpers/pieces.ts";
import { runs } from "../../../helpers/effort.ts";

Deno.test("any message comes off the SDK process's pipe as it went on, in any split", async () => {
  const messages = fc.array(fc.record({ id: fc.nat(), text: fc.string(), bytes: fc.uint8Array() }), {
    maxLength: 5,
  });
  await fc.assert(
    fc.asyncProperty(messages, cuts, async (sent, lengths) => {
      const bytes = new Uint8Array(sent.flatMap((message) => [...encodeFrame(message)]));
      const stream = ReadableStream.from([...pieces(bytes, lengths)].map((piece) => new Uint8Array(piece)));
      const received: unknown[] = [];
      for await (const message of decodeFrames(stream)) received.push(message);
      assertEquals(JSON.stringify(received), JSON.stringify(sent));
    }),
    runs(200),
  );
});

Deno.test("any bytes on the SDK process's pipe end in messages or an error, and no message is larger than its bytes", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), cuts, async (bytes, lengths) => {
      const stream = ReadableStream.from([...pieces(bytes, lengths)].map((piece) => new Uint8Array(piece)));
      let messages = 0;
      try {
        for await (const _message of decodeFrames(stream)) messages++;
      } catch (thrown) {
        assert(thrown instanceof Error);
      }
      assert(messages * 4 <= bytes.length);
    }),
    runs(300),
  );
});
