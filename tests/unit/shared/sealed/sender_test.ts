/** The sender of sealed requests: which keys and ids it refuses. */
import { assertRejects } from "@std/assert";
import { importPublicKey } from "../../../../lib/shared/sealed/hpke.ts";
import { SealedSender } from "../../../../lib/shared/sealed/mod.ts";

Deno.test("a sender refuses invalid ids and keys", async () => {
  const key = new Uint8Array(32).fill(9);
  await assertRejects(() => SealedSender.create(key, { clientId: new Uint8Array(15) }), RangeError);
  await assertRejects(() => SealedSender.create(key, { lastCounter: -1 }), RangeError);
  await assertRejects(() => SealedSender.create(new Uint8Array(31)), RangeError);
  await assertRejects(() => importPublicKey(new Uint8Array(33)), RangeError);
});
