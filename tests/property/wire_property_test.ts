/** Properties of what reads untrusted bytes. A failure prints the seed and path that fast-check needs to repeat it. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { parseOptions, UsageError } from "../../lib/cli/options.ts";
import { NITRO_OPTIONS, readServeConfig, SERVE_OPTIONS } from "../../lib/cli/serve.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { OpenError, SealingKey, SMALL_LENGTH } from "../../lib/crypto/sealing.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { parseKeyArn, selectKey } from "../../lib/aws/key_arn.ts";
import { decodeFrames, encodeFrame } from "../../lib/kms/sdk_process/frames.ts";
import { type Address, formatAddress, parseAddress } from "../../lib/wire/address.ts";
import { encodeMessage, FrameDecoder, type Framing, MessageEncoder } from "../../lib/wire/framing.ts";
import { parseObject, takeCredentials, WireError } from "../../lib/wire/messages.ts";

const framings = fc.constantFrom<Framing>("u64le", "u32be", "raw");
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

Deno.test("any JSON value, in any framing and any split, comes out as it went in", () => {
  fc.assert(
    fc.property(
      fc.array(fc.json(), { minLength: 1, maxLength: 4 }),
      framings,
      cuts,
      (documents, framing, lengths) => {
        const values = documents.map((document) => JSON.parse(document));
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

Deno.test("any message comes off an SDK process's pipe as it went on, in any split", async () => {
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
          assert(decoder.capacity <= maxLength + 9, String(decoder.capacity));
        }
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("any address is read and written the same again, or refused as one", () => {
  const words = fc.tuple(
    fc.constantFrom("vsock", "tcp", "unix", "", "http"),
    fc.oneof(fc.string(), fc.ipV6(), fc.ipV4(), fc.integer().map(String)),
    fc.oneof(fc.nat().map(String), fc.string()),
  ).map((parts) => parts.join(":"));
  fc.assert(
    fc.property(fc.oneof(words, fc.string()), (text) => {
      let address: Address;
      try {
        address = parseAddress(text);
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && thrown.code === "invalid_address", String(thrown));
        return;
      }
      assertEquals(parseAddress(formatAddress(address)), address);
    }),
    RUNS,
  );
});

const ARNS = ["us-east-1", "eu-west-1"].flatMap((region) =>
  ["a", "b"].map((letter) => `arn:aws:kms:${region}:111122223333:key/${letter.repeat(8)}`)
);

Deno.test("whatever a request says, the key that it gets is an allowed one, and the one that it named", () => {
  const anything = fc.oneof(
    fc.string(),
    fc.constantFrom(...ARNS, "aaaaaaaa", "bbbbbbbb", "alias/mine", "constructor", undefined),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.constantFrom(...ARNS)),
      anything,
      fc.oneof(fc.string(), fc.constantFrom("us-east-1", "eu-west-1", undefined)),
      (allowed, key, region) => {
        try {
          const { arn, id, region: chosen } = selectKey(allowed.map(parseKeyArn), { key, region });
          assert(allowed.includes(arn));
          assert(key === undefined || key === arn || key === id);
          assert(region === undefined || region === chosen);
        } catch (thrown) {
          assert(thrown instanceof EnclaveError && thrown.code === "key_not_allowed", String(thrown));
        }
      },
    ),
    RUNS,
  );
});

Deno.test("any text is a key's ARN, or refused as one, and what is taken has the region's shape", () => {
  const mutated = fc.tuple(fc.constantFrom(...ARNS), fc.nat({ max: 60 }), fc.string({ maxLength: 3 }))
    .map(([arn, at, text]) => arn.slice(0, at) + text + arn.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(fc.string(), mutated), (text) => {
      try {
        const { arn, region } = parseKeyArn(text);
        assertEquals([arn, /^[a-z]+(-[a-z]+)+-[0-9]{1,2}$/.test(region)], [text, true]);
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && thrown.code === "invalid_key_arn", String(thrown));
      }
    }),
    RUNS,
  );
});

Deno.test("any configuration is read, or refused with a message", () => {
  const values = fc.dictionary(
    fc.constantFrom(...SERVE_OPTIONS.map((spec) => spec.env)),
    fc.oneof(fc.string(), fc.constantFrom("0", "1", "true", "-1", "99999999999", "a=b", "unix:/a")),
  );
  fc.assert(
    fc.property(values, (env) => {
      try {
        readServeConfig(parseOptions(SERVE_OPTIONS, [], (name) => env[name]));
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && thrown.message !== "", String(thrown));
      }
    }),
    RUNS,
  );
});

Deno.test("any bit of a sealed blob that is changed keeps it shut, on both paths", async () => {
  using key = await SealingKey.take(new SecretBytes(crypto.getRandomValues(new Uint8Array(32))));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(0, 1, 100, SMALL_LENGTH + 1),
      fc.nat(),
      fc.nat({ max: 7 }),
      async (length, position, bit) => {
        const blob = await key.seal(new Uint8Array(length));
        const at = position % blob.length;
        blob[at] = (blob[at] ?? 0) ^ (1 << bit);
        await assertRejects(async () => await key.open(blob), OpenError);
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("any bytes on an SDK process's pipe end in messages or an error, and no message is larger than its bytes", async () => {
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
    { numRuns: 300 },
  );
});
