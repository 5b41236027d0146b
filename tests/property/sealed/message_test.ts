/** Whatever is sealed opens to the same, once and for one; whatever else comes is refused by the protocol's own error. */
import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { exportPublicKey, generateKeyPair } from "../../../lib/sealed/hpke.ts";
import { hashPublicKey, MAX_COUNTER, openRequest, sealRequest } from "../../../lib/sealed/message.ts";
import { SealedError } from "../../../lib/sealed/mod.ts";
import { runs } from "../../helpers/effort.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const bytes = (options: fc.IntArrayConstraints) =>
  fc.uint8Array(options).map((array): Bytes => new Uint8Array(array));
const clientIds = bytes({ minLength: 16, maxLength: 32 });
const counters = fc.integer({ min: 1, max: MAX_COUNTER });

const keys = await generateKeyPair();
const keyHash = await hashPublicKey(await exportPublicKey(keys.publicKey));
const sender = await generateKeyPair();

Deno.test("any request and any reply are opened as they were sealed, in both modes", async () => {
  await fc.assert(
    fc.asyncProperty(
      bytes({ maxLength: 300 }),
      bytes({ maxLength: 300 }),
      clientIds,
      counters,
      fc.boolean(),
      async (request, reply, clientId, counter, isAuthenticated) => {
        const name = { keyHash, clientId, counter };
        const sealed = await sealRequest(keys.publicKey, request, {
          ...name,
          senderKey: isAuthenticated ? sender : undefined,
        });
        const opened = await openRequest(keys, sealed, {
          ...name,
          senderPublicKey: isAuthenticated ? sender.publicKey : undefined,
        });
        assertEquals(opened.plaintext, request);
        assertEquals(await sealed.openReply(await opened.sealReply(reply)), reply);
      },
    ),
    runs(50),
  );
});

Deno.test("any bit that is changed keeps a request and its reply shut", async () => {
  const name = { keyHash, clientId: new Uint8Array(16), counter: 1 };
  const { enc, ciphertext, openReply } = await sealRequest(keys.publicKey, new Uint8Array(9), name);
  const opened = await openRequest(keys, { enc, ciphertext }, name);
  const reply = await opened.sealReply(new Uint8Array(9));
  const flip = (whole: Bytes, bit: number): Bytes => {
    const copy = new Uint8Array(whole);
    const at = (bit >> 3) % whole.length;
    copy[at] = (copy[at] ?? 0) ^ (1 << (bit & 7));
    return copy;
  };
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: 8 * 64 }), async (bit) => {
      // RFC 7748 has the highest bit of a point ignored; HPKE binds it all the same.
      await assertRejects(() => openRequest(keys, { enc: flip(enc, bit), ciphertext }, name), SealedError);
      await assertRejects(
        () => openRequest(keys, { enc, ciphertext: flip(ciphertext, bit) }, name),
        SealedError,
      );
      await assertRejects(() => openReply(flip(reply, bit)), SealedError);
    }),
    runs(100),
  );
});

Deno.test("a request opens under its own name alone, and a reply too", async () => {
  await fc.assert(
    fc.asyncProperty(clientIds, counters, clientIds, counters, async (idA, counterA, idB, counterB) => {
      fc.pre(counterA !== counterB || idA.join() !== idB.join());
      const [a, b] = [{ keyHash, clientId: idA, counter: counterA }, {
        keyHash,
        clientId: idB,
        counter: counterB,
      }];
      const sealed = await sealRequest(keys.publicKey, new Uint8Array(1), a);
      await assertRejects(() => openRequest(keys, sealed, b), SealedError);
      const other = await sealRequest(keys.publicKey, new Uint8Array(1), b);
      const reply = await (await openRequest(keys, other, b)).sealReply(new Uint8Array(1));
      await assertRejects(() => sealed.openReply(reply), SealedError);
    }),
    runs(50),
  );
});

Deno.test("any bytes in place of a request or a reply end in the protocol's own error", async () => {
  const name = { keyHash, clientId: new Uint8Array(16), counter: 1 };
  const { openReply } = await sealRequest(keys.publicKey, new Uint8Array(0), name);
  await fc.assert(
    fc.asyncProperty(bytes({ maxLength: 64 }), bytes({ maxLength: 64 }), async (enc, ciphertext) => {
      await assertRejects(() => openRequest(keys, { enc, ciphertext }, name), SealedError);
      await assertRejects(() => openReply(ciphertext), SealedError);
    }),
    runs(100),
  );
});
