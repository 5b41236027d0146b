/** Properties of sealing. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { OpenError, SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { runs } from "../../../helpers/effort.ts";

Deno.test("any bytes under any additional data are opened as they were sealed", () => {
  using key = new SealingKey(new SecretBytes(crypto.getRandomValues(new Uint8Array(32))), {
    random: HOST_RANDOM.fill,
  });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20_000 }), fc.uint8Array({ maxLength: 50 }), (plaintext, data) => {
      const bound = new Uint8Array(data);
      assertEquals(key.open(key.seal(plaintext, bound), bound), new Uint8Array(plaintext));
    }),
    runs(100),
  );
});

Deno.test("any bit of a sealed blob that is changed keeps it shut", () => {
  using key = new SealingKey(new SecretBytes(crypto.getRandomValues(new Uint8Array(32))), {
    random: HOST_RANDOM.fill,
  });
  fc.assert(
    fc.property(fc.constantFrom(0, 1, 100, 20_000), fc.nat(), fc.nat({ max: 7 }), (length, position, bit) => {
      const blob = key.seal(new Uint8Array(length));
      const at = position % blob.length;
      blob[at] = (blob[at] ?? 0) ^ (1 << bit);
      assertThrows(() => key.open(blob), OpenError);
    }),
    runs(200),
  );
});
