/** Sealing and secret bytes. */
import { inspect } from "node:util";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { OpenError, SEAL_LIMITS, SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";

/** AES-256 test cases 13 to 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega), appendix B. */
const VECTORS = [
  {
    name: "13",
    key: "00".repeat(32),
    iv: "00".repeat(12),
    data: "",
    plaintext: "",
    ciphertext: "",
    tag: "530f8afbc74536b9a963b4f1c4cb738b",
  },
  {
    name: "14",
    key: "00".repeat(32),
    iv: "00".repeat(12),
    data: "",
    plaintext: "00".repeat(16),
    ciphertext: "cea7403d4d606b6e074ec5d3baf39d18",
    tag: "d0d1c8a799996bf0265b98b5d48ab919",
  },
  {
    name: "15",
    key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
    iv: "cafebabefacedbaddecaf888",
    data: "",
    plaintext:
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
    ciphertext:
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
    tag: "b094dac5d93471bdec1a502270e3cc6c",
  },
  {
    name: "16",
    key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
    iv: "cafebabefacedbaddecaf888",
    data: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    plaintext:
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    ciphertext:
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
    tag: "76fc6ece0f4e1768cddf8853bb2d551b",
  },
] as const;

function keyOf(hex: string): SealingKey {
  return SealingKey.take(new SecretBytes(decodeHex(hex)), { random: HOST_RANDOM.fill });
}

for (const vector of VECTORS) {
  Deno.test(`GCM test case ${vector.name} opens`, () => {
    using key = keyOf(vector.key);
    const opened = key.open(
      decodeHex(vector.iv + vector.ciphertext + vector.tag),
      decodeHex(vector.data),
    );
    assertEquals(encodeHex(opened), vector.plaintext);
  });
}

for (const length of [0, 1, 100, 8_192, 100_000]) {
  Deno.test(`${length} bytes are sealed and opened again, with nonce and tag around them`, () => {
    using key = keyOf("11".repeat(32));
    const plaintext = new Uint8Array(length).fill(7);
    const data = new Uint8Array([1, 2, 3]);
    const blob = key.seal(plaintext, data);
    assertEquals(blob.length, length + 28);
    assertEquals(key.open(blob, data), plaintext);
    for (const other of [new Uint8Array([1, 2]), new Uint8Array(0)]) {
      assertThrows(() => key.open(blob, other), OpenError);
    }
  });
}

Deno.test("what WebCrypto made opens, and the other way round", async () => {
  const raw = decodeHex("22".repeat(32));
  using key = SealingKey.take(SecretBytes.copyOf(raw), { random: HOST_RANDOM.fill });
  const web = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
  for (const length of [10, 16_384]) {
    const plaintext = new Uint8Array(length).fill(3);
    const iv = new Uint8Array(12).fill(9);
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, web, plaintext));
    const blob = new Uint8Array([...iv, ...sealed]);
    assertEquals(key.open(blob), plaintext);
    const ours = key.seal(plaintext);
    const opened = await crypto.subtle.decrypt(
      { name: "AES-GCM", iv: ours.subarray(0, 12) },
      web,
      ours.subarray(12),
    );
    assertEquals(new Uint8Array(opened), plaintext);
  }
});

Deno.test("blobs that are cut short do not open", () => {
  using key = keyOf("44".repeat(32));
  const blob = key.seal(new Uint8Array(100));
  for (const length of [0, 11, 27, 28, 127]) assertThrows(() => key.open(blob.slice(0, length)), OpenError);
});

for (const size of [64, 16_384]) {
  for (const [region, at] of [["nonce", 3], ["ciphertext", 20], ["tag", size + 27]] as const) {
    Deno.test(`a bit changed in the ${region} of ${size} bytes does not open`, () => {
      using key = keyOf("33".repeat(32));
      const blob = key.seal(new Uint8Array(size));
      blob[at] = (blob[at] ?? 0) ^ 1;
      assertThrows(() => key.open(blob), OpenError);
    });
  }
}

Deno.test("a key that has made 2^32 seals makes no more, and still opens", () => {
  using key = SealingKey.take(new SecretBytes(new Uint8Array(32)), {
    random: HOST_RANDOM.fill,
    seals: SEAL_LIMITS.refuseAt - 1,
  });
  const last = key.seal(new Uint8Array(5));
  const error = assertThrows(() => key.seal(new Uint8Array(5)), EnclaveError);
  assertEquals([error.code, SEAL_LIMITS.refuseAt, SEAL_LIMITS.warnAt], ["rekey_required", 2 ** 32, 2 ** 31]);
  assertEquals(key.open(last), new Uint8Array(5));
});

for (const length of [0, 16, 31, 33]) {
  Deno.test(`a key of ${length} bytes is refused and wiped`, () => {
    const secret = new SecretBytes(new Uint8Array(length).fill(1));
    assertThrows(() => SealingKey.take(secret, { random: HOST_RANDOM.fill }), RangeError, "AES-256");
    assert(secret.isWiped);
  });
}

Deno.test("a key's bytes are wiped as soon as it is taken, and after its scope it seals nothing", () => {
  const raw = new Uint8Array(32).fill(6);
  const key = SealingKey.take(new SecretBytes(raw), { random: HOST_RANDOM.fill });
  assertEquals(raw, new Uint8Array(32));
  const blob = key.seal(raw);
  assertEquals([key.open(blob), key.seals], [raw, 1]);
  key[Symbol.dispose]();
  key[Symbol.dispose]();
  assertThrows(() => key.open(blob), TypeError, "wiped");
  assertThrows(() => key.seal(new Uint8Array(1)), TypeError, "wiped");
});

Deno.test("secret bytes are not printed by any conversion", () => {
  using secret = SecretBytes.fromString("hunter2");
  for (
    const shown of [
      String(secret),
      `${secret}`,
      JSON.stringify({ secret }),
      Deno.inspect(secret),
      inspect(secret),
      Deno.inspect({ a: [secret] }),
    ]
  ) {
    assertEquals([shown.includes("hunter2"), shown.includes("104"), shown.includes("[secret]")], [
      false,
      false,
      true,
    ]);
  }
});

Deno.test("secret bytes are wiped once, and a clone lives on", () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const secret = new SecretBytes(bytes);
  using clone = secret.clone();
  secret[Symbol.dispose]();
  secret[Symbol.dispose]();
  assertEquals([bytes, clone.expose(), secret.isWiped], [new Uint8Array(3), new Uint8Array([1, 2, 3]), true]);
  assertThrows(() => secret.expose(), TypeError, "wiped");
  assertNotEquals(clone.length, 0);
});

Deno.test("sealing leaves the plaintext, and opening the blob, as they were", () => {
  using key = keyOf("78".repeat(32));
  for (const length of [5, 16_384]) {
    const plaintext = new Uint8Array(length).fill(4);
    const blob = key.seal(plaintext);
    const before = blob.slice();
    key.open(blob);
    assertEquals([plaintext, blob], [new Uint8Array(length).fill(4), before]);
  }
});

Deno.test("an error of opening contains nothing of the bytes, and has a code and a hint", () => {
  using key = keyOf("79".repeat(32));
  for (const length of [3, 40, 16_384]) {
    const error = assertThrows(
      () => key.open(new Uint8Array(length).fill(0xab)),
      OpenError,
    );
    assertEquals([error.code, error.hint !== undefined, /abab|171/.test(error.message)], [
      "decrypt_failed",
      true,
      false,
    ]);
  }
});

Deno.test("a key that is taken again repeats no nonce: neither after a restart, nor in a second enclave", () => {
  const nonces = Array.from({ length: 8 }, () => {
    using key = keyOf("11".repeat(32));
    return [1, 2].map(() => encodeHex(key.seal(new Uint8Array(4)).subarray(0, 12)));
  }).flat();
  assertEquals(new Set(nonces).size, nonces.length);
  // Random in every part: a counter anywhere in it leaves the rest the same.
  for (const at of [0, 8, 16]) {
    assertEquals(new Set(nonces.map((nonce) => nonce.slice(at, at + 8))).size, nonces.length);
  }
});
