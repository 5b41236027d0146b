/** The cache of opened keys: bounded in size and time, and wiped on removal. */
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { cacheId, KeyCache } from "../../../../lib/enclave/wallet/key_cache.ts";
import { MAX_CACHE_MS } from "../../../../lib/shared/cli/wallet_options.ts";

function key(byte: number): SecretBytes {
  return new SecretBytes(new Uint8Array(32).fill(byte));
}

function setup(entries = 2) {
  const clock = { now: 0 };
  return { clock, cache: new KeyCache({ entries, maxAgeMs: 1_000, now: () => clock.now }) };
}

Deno.test("a key that was put in is returned as a separate copy", () => {
  using cache = setup().cache;
  using original = key(7);
  cache.put("a", original, cache.generation);
  original[Symbol.dispose]();
  using copy = cache.get("a");
  assertEquals(copy?.expose(), new Uint8Array(32).fill(7));
  copy?.[Symbol.dispose]();
  assertEquals(cache.get("a")?.expose()[0], 7);
});

Deno.test("a key's time in the cache counts from when it was put in, however often it is used", () => {
  const { clock, cache } = setup();
  using _ = cache;
  cache.put("a", key(1), cache.generation);
  for (clock.now = 0; clock.now < 1_000; clock.now += 100) assert(cache.get("a") !== undefined);
  assertEquals([cache.get("a"), cache.stats.entries], [undefined, 0]);
});

Deno.test("the key used longest ago makes room", () => {
  using cache = setup().cache;
  cache.put("a", key(1), cache.generation);
  cache.put("b", key(2), cache.generation);
  cache.get("a");
  cache.put("c", key(3), cache.generation);
  assertEquals([cache.get("a")?.expose()[0], cache.get("b"), cache.get("c")?.expose()[0]], [1, undefined, 3]);
  assertEquals(cache.stats.entries, 2);
});

Deno.test("an unused key is wiped when it expires, without a request", async () => {
  using cache = new KeyCache({ entries: 1, maxAgeMs: 5 });
  cache.put("a", key(1), cache.generation);
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, 30);
  await promise;
  assertEquals(cache.stats.entries, 0);
});

Deno.test("keys are kept five minutes at most", () => {
  assertThrows(() => new KeyCache({ entries: 1, maxAgeMs: MAX_CACHE_MS + 1 }), RangeError);
});

Deno.test("parts that run together give other ids", () => {
  const bytes = (...values: number[]) => new Uint8Array(values);
  assertNotEquals(cacheId(["ab", "c"]), cacheId(["a", "bc"]));
  assertNotEquals(cacheId([bytes(1, 2), bytes(3)]), cacheId([bytes(1), bytes(2, 3)]));
  assertNotEquals(cacheId(["1"]), cacheId([1]));
  assertEquals(cacheId(["a", bytes(1)]), cacheId(["a", bytes(1)]));
});

Deno.test("a key that was asked for before the cache was cleared is not kept", () => {
  using cache = setup().cache;
  const { generation } = cache;
  cache.clear();
  cache.put("a", key(1), generation);
  assertEquals(cache.get("a"), undefined);
});

Deno.test("a wall clock that is moved, in either direction, neither keeps a key longer nor ends it", () => {
  using cache = new KeyCache({ entries: 2, maxAgeMs: MAX_CACHE_MS });
  const { now } = Date;
  try {
    cache.put("a", key(1), cache.generation);
    Date.now = () => now() + 2 * MAX_CACHE_MS;
    assert(cache.get("a") !== undefined);
    cache.put("b", key(2), cache.generation);
    Date.now = () => now() - 2 * MAX_CACHE_MS;
    assert(cache.get("b") !== undefined);
  } finally {
    Date.now = now;
  }
});
