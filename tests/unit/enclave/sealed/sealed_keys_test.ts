/** The service's key pairs: one at a time, each with its clients' counters, none without entropy. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { KEY_LIFE_MS, SealedKeys } from "../../../../lib/enclave/sealed/sealed_keys.ts";
import { generateKeyPair } from "../../../../lib/shared/sealed/sender.ts";
import { WireError } from "../../../../lib/shared/wire/messages.ts";

Deno.test("a key counts for so many clients, and takes no other until it changes: none is forgotten", async () => {
  const clock = { ms: 0 };
  using keys = new SealedKeys({
    makeKeyPair: generateKeyPair,
    now: () => new Date(0),
    monotonic: () => clock.ms,
    maxClients: 2,
  });
  const key = await keys.current();
  const session = { clientKey: undefined, sessionStarted: 0 };
  keys.use(key, { ...session, client: "a", counter: 1 });
  keys.use(key, { ...session, client: "b", counter: 1 });
  const refused = (client: string, counter: number) => {
    try {
      keys.use(key, { ...session, client, counter });
      return undefined;
    } catch (thrown) {
      return thrown instanceof WireError ? thrown.code : thrown;
    }
  };
  assertEquals([refused("c", 1), refused("a", 1), refused("b", 2)], ["busy", "sealed_replayed", undefined]);
  clock.ms = KEY_LIFE_MS;
  const next = await keys.current();
  keys.use(next, { ...session, client: "c", counter: 1 });
  assertEquals([refused("c", 1), refused("a", 2)], ["busy", undefined]);
});

Deno.test("callers at the same time get the same key, and callers after the end get none", async () => {
  const keys = new SealedKeys({ makeKeyPair: generateKeyPair, now: () => new Date(0), monotonic: () => 0 });
  const [a, b] = await Promise.all([keys.current(), keys.current()]);
  assertEquals(a.keyId, b.keyId);
  keys[Symbol.dispose]();
  assertEquals(keys.find(a.keyId), undefined);
  assertEquals((await assertRejects(() => keys.current(), WireError)).code, "internal_error");
});

Deno.test("no key is made when the random number generator is not trusted", async () => {
  const refusal = new WireError("entropy_not_trusted", "No");
  using keys = new SealedKeys({
    makeKeyPair: () => Promise.reject(refusal),
    now: () => new Date(0),
    monotonic: () => 0,
  });
  assertEquals(await assertRejects(() => keys.current(), WireError), refusal);
});

Deno.test("of two sessions of a client key with the same start time, the second is refused", async () => {
  using keys = new SealedKeys({
    makeKeyPair: generateKeyPair,
    now: () => new Date(0),
    monotonic: () => 0,
  });
  const key = await keys.current();
  const message = { clientKey: "K", counter: 1, sessionStarted: 5 };
  keys.use(key, { ...message, client: "a" });
  const refused = assertThrows(() => keys.use(key, { ...message, client: "b" }), WireError);
  assertEquals(refused.code, "sealed_replayed");
  // The one that came first is not void for it.
  keys.use(key, { ...message, client: "a", counter: 2 });
});

Deno.test("of one message that is opened twice at the same time, the second is refused", async () => {
  using keys = new SealedKeys({
    makeKeyPair: generateKeyPair,
    now: () => new Date(0),
    monotonic: () => 0,
  });
  const key = await keys.current();
  for (const clientKey of [undefined, "K"]) {
    const message = { client: "a", clientKey, counter: 1, sessionStarted: 5 };
    // Both are looked at before either is opened.
    keys.check(key, message);
    keys.check(key, message);
    keys.use(key, message);
    assertEquals(assertThrows(() => keys.use(key, message), WireError).code, "sealed_replayed");
  }
});
