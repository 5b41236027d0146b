/** What is sealed opens to the same bytes, once and for one recipient; any other input is refused with the protocol's own error. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { exportPublicKey } from "../../../../lib/shared/sealed/hpke.ts";
import { hashPublicKey, MAX_COUNTER, openRequest } from "../../../../lib/shared/sealed/message.ts";
import { sealRequest } from "../../../../lib/shared/sealed/seal_request.ts";
import { generateKeyPair, SealedError } from "../../../../lib/shared/sealed/mod.ts";
import { CLOCK_TOLERANCE_MS, timeProblem } from "../../../../lib/enclave/sealed/sealed_time.ts";
import { runs } from "../../../helpers/effort.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const bytes = (options: fc.IntArrayConstraints) =>
  fc.uint8Array(options).map((array): Bytes => new Uint8Array(array));
const clientIds = bytes({ minLength: 16, maxLength: 32 });
const counters = fc.integer({ min: 1, max: MAX_COUNTER });

const TIMES = { sessionStarted: 1, sealedAt: 2, expiresAt: 3 };

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
      fc.tuple(counters, counters, counters),
      async (request, reply, clientId, counter, isAuthenticated, [sessionStarted, sealedAt, expiresAt]) => {
        const name = { keyHash, clientId, counter };
        const times = { sessionStarted, sealedAt, expiresAt };
        const sealed = await sealRequest(keys.publicKey, request, {
          ...name,
          times,
          senderKey: isAuthenticated ? sender : undefined,
        });
        const opened = await openRequest(keys, sealed, {
          ...name,
          senderPublicKey: isAuthenticated ? sender.publicKey : undefined,
        });
        assertEquals(opened.plaintext, request);
        assertEquals(opened.times, times);
        assertEquals(await sealed.openReply(await opened.sealReply(reply, HOST_RANDOM.bytes(12))), reply);
      },
    ),
    runs(50),
  );
});

Deno.test("any bit that is changed keeps a request and its reply shut", async () => {
  const name = { keyHash, clientId: new Uint8Array(16), counter: 1 };
  const { enc, ciphertext, openReply } = await sealRequest(keys.publicKey, new Uint8Array(9), {
    ...name,
    times: TIMES,
  });
  const opened = await openRequest(keys, { enc, ciphertext }, name);
  const reply = await opened.sealReply(new Uint8Array(9), HOST_RANDOM.bytes(12));
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

Deno.test("a request and a reply open only under their own names", async () => {
  await fc.assert(
    fc.asyncProperty(clientIds, counters, clientIds, counters, async (idA, counterA, idB, counterB) => {
      fc.pre(counterA !== counterB || idA.join() !== idB.join());
      const [a, b] = [{ keyHash, clientId: idA, counter: counterA }, {
        keyHash,
        clientId: idB,
        counter: counterB,
      }];
      const sealed = await sealRequest(keys.publicKey, new Uint8Array(1), { ...a, times: TIMES });
      await assertRejects(() => openRequest(keys, sealed, b), SealedError);
      const other = await sealRequest(keys.publicKey, new Uint8Array(1), { ...b, times: TIMES });
      const reply = await (await openRequest(keys, other, b)).sealReply(
        new Uint8Array(1),
        HOST_RANDOM.bytes(12),
      );
      await assertRejects(() => sealed.openReply(reply), SealedError);
    }),
    runs(50),
  );
});

Deno.test("any bytes instead of a request or a reply cause the protocol's own error", async () => {
  const name = { keyHash, clientId: new Uint8Array(16), counter: 1 };
  const { openReply } = await sealRequest(keys.publicKey, new Uint8Array(0), { ...name, times: TIMES });
  await fc.assert(
    fc.asyncProperty(bytes({ maxLength: 64 }), bytes({ maxLength: 64 }), async (enc, ciphertext) => {
      await assertRejects(() => openRequest(keys, { enc, ciphertext }, name), SealedError);
      await assertRejects(() => openReply(ciphertext), SealedError);
    }),
    runs(100),
  );
});

/** Up to a day on either side of each limit, and the limits themselves. */
const DAY_MS = 86_400_000;
const NOW = 1_700_000_000_000;
const near = fc.oneof(
  fc.integer({ min: -DAY_MS, max: DAY_MS }),
  fc.constantFrom(-5_001, -5_000, -1, 0, 1, 5_000, 5_001, 60_000, 65_000, 65_001),
);

Deno.test("whatever a request says, it is accepted from 5 s before its sealing to 5 s after its expiry, and never beyond the limit", () => {
  fc.assert(
    fc.property(
      near,
      fc.integer({ min: 0, max: DAY_MS }),
      fc.integer({ min: 0, max: DAY_MS }),
      fc.integer({ min: 1_000, max: 3_600_000 }),
      (delay, sessionAge, lifeMs, maxAgeMs) => {
        const sealedAt = NOW - delay;
        const times = { sessionStarted: sealedAt - sessionAge, sealedAt, expiresAt: sealedAt + lifeMs };
        const isTaken = timeProblem(times, { now: NOW, maxAgeMs }) === undefined;
        const isInTime = delay >= -CLOCK_TOLERANCE_MS &&
          delay <= Math.min(lifeMs, maxAgeMs) + CLOCK_TOLERANCE_MS;
        assertEquals(isTaken, isInTime);
      },
    ),
    runs(2_000),
  );
});

Deno.test("a request with any times is accepted only within the limit; the error says by how much it is off", () => {
  const time = fc.oneof(counters, near.map((offset) => NOW + offset), fc.constant(2 ** 64));
  fc.assert(
    fc.property(time, time, time, (sessionStarted, sealedAt, expiresAt) => {
      const problem = timeProblem({ sessionStarted, sealedAt, expiresAt }, { now: NOW, maxAgeMs: 60_000 });
      if (problem === undefined) {
        assert(sealedAt - NOW <= CLOCK_TOLERANCE_MS && NOW - sealedAt <= 60_000 + CLOCK_TOLERANCE_MS);
        assert(sessionStarted <= sealedAt && sealedAt <= expiresAt);
      } else assert(/not in order|[0-9]+ ms (ahead|ago)/.test(problem), problem);
    }),
    runs(2_000),
  );
});
