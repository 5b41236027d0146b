/** A private key in its row: what it is bound to, and a row of this version that every later one must open. */
import { assertEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { type Binding, openPrivateKey, sealPrivateKey } from "../../../../lib/shared/crypto/bound_key.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { OpenError } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";

const KEY = { account: "111122223333", region: "us-east-1", id: "1234abcd-12ab-34cd-56ef-1234567890ab" };
const BINDING: Binding = {
  purpose: "wallet",
  subject: "alice",
  key: KEY,
  publicPart: new Uint8Array(20).fill(9),
};

function secret(byte: number, length = 32): SecretBytes {
  return new SecretBytes(new Uint8Array(length).fill(byte));
}

Deno.test("a sealed key opens under the same data key and binding: nonce, ciphertext, tag", () => {
  const blob = sealPrivateKey(secret(1), secret(2), { random: HOST_RANDOM.fill, binding: BINDING });
  assertEquals(blob.length, 12 + 32 + 16);
  assertEquals(
    openPrivateKey(secret(1), blob, { random: HOST_RANDOM.fill, binding: BINDING }).expose(),
    secret(2).expose(),
  );
});

const OTHERS: readonly (readonly [string, Partial<Binding>])[] = [
  ["purpose", { purpose: "master" }],
  ["subject", { subject: "bob" }],
  ["account", { key: { ...KEY, account: "444455556666" } }],
  ["region", { key: { ...KEY, region: "eu-west-1" } }],
  ["key", { key: { ...KEY, id: "4321abcd-12ab-34cd-56ef-1234567890ab" } }],
  ["public part", { publicPart: new Uint8Array(20).fill(8) }],
  ["length of the public part", { publicPart: new Uint8Array(21).fill(9) }],
  ["epoch", { epoch: 0 }],
  ["epoch from none", { epoch: 1 }],
];

for (const [what, change] of OTHERS) {
  Deno.test(`a sealed key does not open under another ${what}`, () => {
    const blob = sealPrivateKey(secret(1), secret(2), { random: HOST_RANDOM.fill, binding: BINDING });
    assertThrows(
      () => openPrivateKey(secret(1), blob, { random: HOST_RANDOM.fill, binding: { ...BINDING, ...change } }),
      OpenError,
    );
  });
}

Deno.test("a sealed key does not open under another data key, nor under the data key itself", () => {
  const blob = sealPrivateKey(secret(1), secret(2), { random: HOST_RANDOM.fill, binding: BINDING });
  assertThrows(
    () => openPrivateKey(secret(3), blob, { random: HOST_RANDOM.fill, binding: BINDING }),
    OpenError,
  );
});

Deno.test("a multi-Region key's replica opens what the primary's data key sealed", () => {
  const key = { ...KEY, id: `mrk-${"0".repeat(32)}` };
  const blob = sealPrivateKey(secret(1), secret(2), {
    random: HOST_RANDOM.fill,
    binding: { ...BINDING, key },
  });
  const replica = { ...key, region: "eu-west-1" };
  assertEquals(
    openPrivateKey(secret(1), blob, { random: HOST_RANDOM.fill, binding: { ...BINDING, key: replica } })
      .expose()[0],
    2,
  );
});

for (const length of [0, 16, 31, 33]) {
  Deno.test(`a data key of ${length} bytes is refused`, () => {
    assertThrows(
      () => sealPrivateKey(secret(1, length), secret(2), { random: HOST_RANDOM.fill, binding: BINDING }),
      RangeError,
      "32",
    );
  });
}

/** Made by this format's first version, on 2026-11-21, and never to be changed: every later version must open it. */
const FIXTURES: readonly { readonly binding: Binding; readonly blob: string }[] = [
  {
    binding: BINDING,
    blob:
      "ff7ace9130015176e021cf3c61b16117490f9e45078019406858849611459d7bdae5fcf514e28898d8cc2675059562ad0c5117e022e0048690a64073",
  },
  {
    binding: {
      ...BINDING,
      purpose: "master",
      subject: "enclave-1",
      publicPart: new Uint8Array(33).fill(2),
      epoch: 3,
    },
    blob:
      "6c2ba384bd52ac86e91a9e0438a491d846167c063230d6284323b672f0f18f8e8ee3863d08a4451fa1d9812683e71743035f9e4c00f9a7405475e1c2",
  },
];

for (const { binding, blob } of FIXTURES) {
  Deno.test(`the ${binding.purpose} row of version 1 still opens`, () => {
    const opened = openPrivateKey(secret(1), decodeHex(blob), { random: HOST_RANDOM.fill, binding });
    assertEquals(encodeHex(opened.expose()), "02".repeat(32));
  });
}
