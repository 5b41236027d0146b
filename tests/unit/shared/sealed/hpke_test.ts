/** HPKE against the vectors of RFC 9180, and what must not be accepted. */
import { assertEquals, assertRejects } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import {
  exportPublicKey,
  type HpkeKeyPair,
  importKeyPair,
  importPublicKey,
  setupRecipient,
} from "../../../../lib/shared/sealed/hpke.ts";
import { setupSender } from "../../../../lib/shared/sealed/seal_request.ts";
import { generateKeyPair } from "../../../../lib/shared/sealed/sender.ts";
import { HPKE_VECTORS } from "../../../fixtures/hpke.ts";

const PKCS8_HEAD = "302e020100300506032b656e04220420";

function keyPairOf(privateKey: string): Promise<HpkeKeyPair> {
  return importKeyPair(decodeHex(PKCS8_HEAD + privateKey));
}

for (const vector of HPKE_VECTORS) {
  const info = decodeHex(vector.info);
  Deno.test(`RFC 9180, ${vector.mode} mode: the sender makes the vector's bytes`, async () => {
    const sender = await setupSender(await importPublicKey(decodeHex(vector.pkRm)), {
      info,
      senderKey: vector.skSm === undefined ? undefined : await keyPairOf(vector.skSm),
      ephemeral: decodeHex(vector.ikmE),
    });
    assertEquals(encodeHex(sender.enc), vector.enc);
    for (const { aad, pt, ct } of vector.encryptions) {
      assertEquals(encodeHex(await sender.apply(decodeHex(pt), decodeHex(aad))), ct);
    }
    for (const { context, value } of vector.exports) {
      assertEquals(encodeHex(await sender.exportSecret(decodeHex(context))), value);
    }
  });

  Deno.test(`RFC 9180, ${vector.mode} mode: the recipient opens the vector's bytes`, async () => {
    const keys = await keyPairOf(vector.skRm);
    assertEquals(encodeHex(await exportPublicKey(keys.publicKey)), vector.pkRm);
    const recipient = await setupRecipient(keys, {
      info,
      enc: decodeHex(vector.enc),
      senderPublicKey: vector.pkSm === undefined ? undefined : await importPublicKey(decodeHex(vector.pkSm)),
    });
    for (const { aad, pt, ct } of vector.encryptions) {
      assertEquals(encodeHex(await recipient.apply(decodeHex(ct), decodeHex(aad))), pt);
    }
    for (const { context, value } of vector.exports) {
      assertEquals(encodeHex(await recipient.exportSecret(decodeHex(context))), value);
    }
  });
}

Deno.test("private keys cannot be exported, made or imported", async () => {
  for (const { privateKey } of [await generateKeyPair(), await keyPairOf("11".repeat(32))]) {
    assertEquals(privateKey.extractable, false);
    await assertRejects(() => crypto.subtle.exportKey("pkcs8", privateKey), DOMException);
  }
});

/** RFC 7748, section 6.1: the shared secret would be zero, so anyone would know it. */
Deno.test("points of low order are refused as encapsulated keys and as recipients", async () => {
  const keys = await generateKeyPair();
  const info = new Uint8Array(0);
  const points = ["00".repeat(32), `01${"00".repeat(31)}`, `ec${"ff".repeat(30)}7f`];
  for (const point of points.map(decodeHex)) {
    await assertRejects(() => setupRecipient(keys, { info, enc: point }), Error);
    await assertRejects(async () => setupSender(await importPublicKey(point), { info }), Error);
    await assertRejects(async () => {
      const { enc } = await setupSender(keys.publicKey, { info });
      await setupRecipient(keys, { info, enc, senderPublicKey: await importPublicKey(point) });
    }, Error);
  }
});

Deno.test("keys of another length are refused, and say so", async () => {
  await assertRejects(() => importPublicKey(new Uint8Array(31)), RangeError, "31 bytes");
  await assertRejects(() => importKeyPair(new Uint8Array(32)), RangeError, "32 bytes");
});
