/** AES-256-GCM: NIST's vectors and random inputs through `node:crypto` and through real AWS-LC (scripts/build.ts); the SDK's stand-in has none. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import fc from "fast-check";
import { openAead, openAeadLibrary } from "../../ffi/aead.ts";
import { type Aead, NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import { NODE_PRIMITIVES } from "../../lib/enclave/receipts/receipts.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { OpenError, SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { CAVP_VECTORS } from "../fixtures/gcm_cavp.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { skipTests } from "../helpers/skip.ts";

const LIBRARY = `${NATIVE_DIR}/libaws_lc_plain.so`;
const MIB = 1024 * 1024;

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

const hasAwsLc = exists(LIBRARY);
if (!hasAwsLc) skipTests("the tests with AWS-LC, since it was not built (deno task build aws-lc says why)");
const awsLc = hasAwsLc ? openAeadLibrary(LIBRARY) : undefined;

function real(): Aead {
  if (awsLc === undefined) throw new Error(`${LIBRARY} lacks a function`);
  return awsLc;
}

/** By name, with whether to leave it out. */
const IMPLEMENTATIONS: readonly (readonly [string, () => Aead, boolean])[] = [
  ["node:crypto", () => NODE_AEAD, false],
  ["AWS-LC", real, !hasAwsLc],
];

function random(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

function filled(length: number, byte: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).fill(byte);
}

for (const [name, implementation, ignore] of IMPLEMENTATIONS) {
  for (const [index, vector] of CAVP_VECTORS.entries()) {
    Deno.test({ name: `${name}: NIST vector ${index} is sealed and opened`, ignore }, () => {
      using key = implementation().newKey(decodeHex(vector.key));
      const [nonce, data] = [decodeHex(vector.iv), decodeHex(vector.data)];
      const [plaintext, sealed] = [decodeHex(vector.plaintext), decodeHex(vector.ciphertext + vector.tag)];
      const [made, opened] = [new Uint8Array(sealed.length), new Uint8Array(plaintext.length)];
      key.seal(made, { nonce, text: plaintext, data });
      assertEquals(encodeHex(made), vector.ciphertext + vector.tag);
      assertEquals([key.open(opened, { nonce, text: sealed, data }), opened], [true, plaintext]);
      // As in gcmDecrypt256.rsp, where a vector that must fail differs in its tag.
      sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1;
      assertEquals(key.open(opened, { nonce, text: sealed, data }), false);
    });
  }

  for (const length of [0, 1, 15, 16, 17, 65_536, 10 * MIB]) {
    Deno.test({ name: `${name}: ${length} bytes are sealed and opened`, ignore }, () => {
      using key = new SealingKey(new SecretBytes(random(32)), {
        random: HOST_RANDOM.fill,
        aead: implementation(),
      });
      const plaintext = random(length);
      const blob = key.seal(plaintext);
      assertEquals(blob.length, length + 28);
      assert(encodeHex(key.open(blob)) === encodeHex(plaintext));
    });
  }

  Deno.test({ name: `${name}: a bit changed anywhere does not open`, ignore }, () => {
    using key = new SealingKey(new SecretBytes(random(32)), {
      random: HOST_RANDOM.fill,
      aead: implementation(),
    });
    const data = filled(3, 1);
    const blob = key.seal(filled(20, 7), data);
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const changed = blob.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assertThrows(() => key.open(changed, data), OpenError, "tag");
    }
    for (const other of [filled(2, 1), filled(3, 2), filled(4, 1), filled(0, 0)]) {
      assertThrows(() => key.open(blob, other), OpenError, "tag");
    }
    assertEquals(key.open(blob, data), filled(20, 7));
  });

  Deno.test({ name: `${name}: what does not open leaves no plaintext behind`, ignore }, () => {
    using key = implementation().newKey(random(32));
    const input = { nonce: random(12), text: filled(1_000, 0x5a), data: filled(0, 0) };
    const sealed = new Uint8Array(1_016);
    key.seal(sealed, input);
    sealed[1_015] = (sealed[1_015] ?? 0) ^ 1;
    const out = new Uint8Array(1_000);
    assertEquals([key.open(out, { ...input, text: sealed }), out], [false, new Uint8Array(1_000)]);
  });

  Deno.test({ name: `${name}: a key that was wiped throws, however often it is wiped`, ignore }, () => {
    const key = implementation().newKey(random(32));
    const input = { nonce: random(12), text: random(32), data: filled(0, 0) };
    for (let time = 0; time < 3; time++) {
      key[Symbol.dispose]();
      assertThrows(() => key.seal(new Uint8Array(48), input), TypeError, "wiped");
      assertThrows(() => key.open(new Uint8Array(16), input), TypeError, "wiped");
    }
  });

  Deno.test({ name: `${name}: a key is its own copy of the bytes`, ignore }, () => {
    const raw = filled(32, 9);
    using key = implementation().newKey(raw);
    using same = implementation().newKey(filled(32, 9));
    raw.fill(0);
    const input = { nonce: filled(12, 1), text: filled(10, 2), data: filled(0, 0) };
    const [one, other] = [new Uint8Array(26), new Uint8Array(26)];
    key.seal(one, input);
    same.seal(other, input);
    assertEquals(one, other);
  });
}

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }) as fc.Arbitrary<Uint8Array<ArrayBuffer>>;
const exactly = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }) as fc.Arbitrary<Uint8Array<ArrayBuffer>>;

Deno.test({
  name: "AWS-LC and node:crypto make the same bytes, and each opens what the other made",
  ignore: !hasAwsLc,
}, () => {
  fc.assert(
    fc.property(exactly(32), exactly(12), bytes(20_000), bytes(500), (raw, nonce, text, data) => {
      using ours = real().newKey(raw);
      using node = NODE_AEAD.newKey(raw);
      const [a, b] = [new Uint8Array(text.length + 16), new Uint8Array(text.length + 16)];
      ours.seal(a, { nonce, text, data });
      node.seal(b, { nonce, text, data });
      assertEquals(a, b);
      const [c, d] = [new Uint8Array(text.length), new Uint8Array(text.length)];
      assertEquals([ours.open(c, { nonce, text: b, data }), node.open(d, { nonce, text: a, data })], [
        true,
        true,
      ]);
      assertEquals([c, d], [text, text]);
    }),
    { numRuns: 300 },
  );
});

Deno.test({
  name: "AWS-LC and node:crypto agree on which changed blobs open",
  ignore: !hasAwsLc,
}, () => {
  fc.assert(
    fc.property(
      exactly(32),
      bytes(200),
      bytes(50),
      fc.nat(),
      fc.nat({ max: 255 }),
      (raw, text, data, place, flip) => {
        using ours = new SealingKey(SecretBytes.copyOf(raw), { random: HOST_RANDOM.fill, aead: real() });
        using node = new SealingKey(SecretBytes.copyOf(raw), { random: HOST_RANDOM.fill });
        const blob = node.seal(text, data);
        const at = place % blob.length;
        blob[at] = (blob[at] ?? 0) ^ flip;
        const tried = [ours, node].map((key) => {
          try {
            return encodeHex(key.open(blob, data));
          } catch (thrown) {
            if (!(thrown instanceof OpenError)) throw thrown;
            return undefined;
          }
        });
        assertEquals(tried[0], tried[1]);
        assertEquals(tried[0] === undefined, flip !== 0);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test({ name: "AWS-LC's SHA-384, HKDF and Ed25519 are those of node:crypto", ignore: !hasAwsLc }, () => {
  const primitives = real().primitives;
  assert(primitives !== undefined);
  for (const length of [0, 1, 48, 111, 112, 1024, 65_536]) {
    const [bytes, secret] = [HOST_RANDOM.bytes(length), HOST_RANDOM.bytes(32 + length % 64)];
    const [ours, node] = [primitives, NODE_PRIMITIVES].map(({ ed25519 }) => ed25519(secret.slice(0, 32)));
    assertEquals([ours?.publicKey, ours?.sign(bytes)], [node?.publicKey, node?.sign(bytes)]);
    assertEquals(primitives.sha384(bytes), NODE_PRIMITIVES.sha384(bytes));
    for (const out of [48, 96]) {
      assertEquals(
        primitives.hkdf(secret, bytes.slice(0, 96), out),
        NODE_PRIMITIVES.hkdf(secret, bytes.slice(0, 96), out),
      );
    }
  }
});

Deno.test({ name: "AWS-LC is given no length that does not fit", ignore: !hasAwsLc }, () => {
  using key = real().newKey(random(32));
  const input = { nonce: random(12), text: random(32), data: filled(0, 0) };
  for (const length of [0, 31, 32, 47, 49, 1_000]) {
    assertThrows(() => key.seal(new Uint8Array(length), input), RangeError);
  }
  for (const length of [0, 15, 17, 32]) {
    assertThrows(() => key.open(new Uint8Array(length), input), RangeError);
  }
  for (const length of [0, 15]) {
    assertThrows(() => key.open(new Uint8Array(0), { ...input, text: random(length) }), RangeError);
  }
  for (const length of [0, 11, 13, 16]) {
    assertThrows(() => key.seal(new Uint8Array(48), { ...input, nonce: random(length) }), RangeError);
  }
  for (const length of [0, 16, 31, 33]) {
    assertThrows(() => real().newKey(random(length)), RangeError, "32");
  }
  const shared = new Uint8Array(100);
  assertThrows(
    () => key.seal(shared.subarray(0, 48), { ...input, text: shared.subarray(40, 72) }),
    RangeError,
  );
  // Memory that was given away has no length.
  const gone = new Uint8Array(48);
  structuredClone(gone, { transfer: [gone.buffer] });
  assertThrows(() => key.seal(gone, input), RangeError);
});

Deno.test({ name: "fifty thousand keys made and disposed leave no memory behind", ignore: !hasAwsLc }, () => {
  const raw = random(32);
  const resident = () => Deno.memoryUsage().rss;
  const make = (count: number) => {
    for (let n = 0; n < count; n++) real().newKey(raw)[Symbol.dispose]();
  };
  make(50_000);
  const before = resident();
  make(50_000);
  // A context has some 600 bytes: leaked, they would be 30 MB. The rest is room for what V8 does meanwhile.
  assert(resident() - before < 12_000_000, `${resident() - before} bytes more`);
});

Deno.test("the SDK's stand-in exports no AES-256-GCM, and that is said, not thrown", () => {
  assertEquals(openAead({ libraryDir: NATIVE_DIR }), undefined);
});
