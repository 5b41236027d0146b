/** Properties of what reads untrusted bytes. A failure prints the seed and path that fast-check needs to repeat it. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseOptions, UsageError } from "../../lib/cli/options.ts";
import { NITRO_OPTIONS, SERVE_OPTIONS } from "../../lib/cli/serve.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { SealingKey } from "../../lib/crypto/sealing.ts";
import { decodeFrames, encodeFrame } from "../../lib/kms/sdk_host/frames.ts";
import { type Dialect, encodeMessage, FrameDecoder } from "../../lib/wire/framing.ts";
import { parseObject, takeCredentials, WireError } from "../../lib/wire/messages.ts";

const dialects = fc.constantFrom<Dialect>("u64le", "u32be", "raw");
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 50 });
const RUNS = { numRuns: 500 };

/** The bytes in pieces of the given lengths, taken in turns. */
function* pieces(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

Deno.test("any JSON value, in any dialect and any split, comes out as it went in", () => {
  fc.assert(
    fc.property(
      fc.array(fc.json(), { minLength: 1, maxLength: 4 }),
      dialects,
      cuts,
      (documents, dialect, lengths) => {
        const values = documents.map((document) => JSON.parse(document));
        const decoder = new FrameDecoder();
        const seen: unknown[] = [];
        const take = () => {
          for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
            assert("body" in frame, JSON.stringify(frame));
            seen.push(JSON.parse(new TextDecoder().decode(frame.body)));
          }
        };
        const bytes = new Uint8Array(values.flatMap((value) => [...encodeMessage(dialect, value)]));
        for (const piece of pieces(bytes, lengths)) {
          decoder.push(piece);
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
        decoder.push(piece);
        take();
        assert(decoder.capacity <= 16 * 1_024);
      }
      if (ends) decoder.end();
      take();
    }),
    RUNS,
  );
});

Deno.test("any bytes as a document give an object or a WireError, and any object gives credentials or a WireError", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map((text) => new TextEncoder().encode(text))),
      (bytes) => {
        try {
          takeCredentials(parseObject(bytes));
        } catch (thrown) {
          assert(thrown instanceof WireError, String(thrown));
        }
      },
    ),
    RUNS,
  );
});

Deno.test("any bytes under any additional data are opened as they were sealed", async () => {
  using key = await SealingKey.take(new SecretBytes(crypto.getRandomValues(new Uint8Array(32))));
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 20_000 }),
      fc.uint8Array({ maxLength: 50 }),
      async (plaintext, data) => {
        const bound = new Uint8Array(data);
        assertEquals(await key.open(await key.seal(plaintext, bound), bound), new Uint8Array(plaintext));
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("any command line is read or refused with a UsageError", () => {
  const words = fc.oneof(
    fc.string(),
    fc.constantFrom("--port", "-p", "--listen=x", "--", "--kms-key", "--no-port", "---", "-pq", "--port="),
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 8 }), (argv) => {
      try {
        parseOptions([...SERVE_OPTIONS, ...NITRO_OPTIONS], argv);
      } catch (thrown) {
        assert(thrown instanceof UsageError, String(thrown));
      }
    }),
    RUNS,
  );
});

Deno.test("any message comes off the SDK host's pipe as it went on, in any split", async () => {
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
    { numRuns: 200 },
  );
});
