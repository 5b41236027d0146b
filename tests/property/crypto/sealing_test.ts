/** Properties of sealing. */
import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { OpenError, SealingKey, SMALL_LENGTH } from "../../../lib/crypto/sealing.ts";
import { SecretBytes } from "../../../lib/crypto/secret_bytes.ts";
import { runs } from "../../helpers/effort.ts";

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
    runs(100),
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
    runs(200),
  );
});
