/** Sealing and secret bytes. */
import { inspect } from "node:util";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { OpenError, SEAL_LIMITS, SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { isWiped } from "../../../helpers/new_secret_key.ts";

function keyOf(hex: string): SealingKey {
  return new SealingKey(new SecretBytes(decodeHex(hex)), { random: HOST_RANDOM.fill });
}

Deno.test("blobs that are cut short do not open", () => {
  using key = keyOf("44".repeat(32));
  const blob = key.seal(new Uint8Array(100));
  for (const length of [0, 11, 27, 28, 127]) assertThrows(() => key.open(blob.slice(0, length)), OpenError);
});

Deno.test("a key that has made 2^32 seals makes no more, and still opens", () => {
  using key = new SealingKey(new SecretBytes(new Uint8Array(32)), {
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
    assertThrows(() => new SealingKey(secret, { random: HOST_RANDOM.fill }), RangeError, "AES-256");
    assert(isWiped(secret));
  });
}

Deno.test("a key's bytes are wiped as soon as it is taken, and after its scope it seals nothing", () => {
  const raw = new Uint8Array(32).fill(6);
  const key = new SealingKey(new SecretBytes(raw), { random: HOST_RANDOM.fill });
  assertEquals(raw, new Uint8Array(32));
  const blob = key.seal(raw);
  assertEquals([key.open(blob), key.seals], [raw, 1]);
  key[Symbol.dispose]();
  key[Symbol.dispose]();
  assertThrows(() => key.open(blob), TypeError, "wiped");
  assertThrows(() => key.seal(new Uint8Array(1)), TypeError, "wiped");
});

Deno.test("secret bytes are not printed by any conversion", () => {
  using secret = new SecretBytes(new TextEncoder().encode("hunter2"));
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
    assertEquals([shown.includes("hunter2"), shown.includes("104")], [false, false]);
  }
});

Deno.test("secret bytes are wiped once, and a clone lives on", () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const secret = new SecretBytes(bytes);
  using clone = secret.clone();
  secret[Symbol.dispose]();
  secret[Symbol.dispose]();
  assertEquals([bytes, clone.expose(), isWiped(secret)], [
    new Uint8Array(3),
    new Uint8Array([1, 2, 3]),
    true,
  ]);
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
