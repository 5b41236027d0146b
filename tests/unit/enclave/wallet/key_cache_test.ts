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

/** Has a key opened whose bytes are all this one. */
async function put(cache: KeyCache, id: string, byte: number): Promise<void> {
  using _opened = await cache.use(id, () => Promise.resolve(key(byte)));
}

/** The first byte of a cached key; undefined where it would have to be opened. */
async function cached(cache: KeyCache, id: string): Promise<number | undefined> {
  try {
    using held = await cache.use(id, () => Promise.reject(new RangeError("not cached")));
    return held.expose()[0];
  } catch (thrown) {
    assert(thrown instanceof RangeError);
    return undefined;
  }
}

Deno.test("a cached key is returned as a separate copy", async () => {
  using cache = setup().cache;
  await put(cache, "a", 7);
  assertEquals([await cached(cache, "a"), await cached(cache, "a")], [7, 7]);
});

Deno.test("a key's time in the cache counts from when it was put in, however often it is used", async () => {
  const { clock, cache } = setup();
  using _ = cache;
  await put(cache, "a", 1);
  for (clock.now = 0; clock.now < 1_000; clock.now += 100) assertEquals(await cached(cache, "a"), 1);
  assertEquals([await cached(cache, "a"), cache.stats.entries], [undefined, 0]);
});

Deno.test("the key used longest ago makes room", async () => {
  using cache = setup().cache;
  await put(cache, "a", 1);
  await put(cache, "b", 2);
  await cached(cache, "a");
  await put(cache, "c", 3);
  const found = [await cached(cache, "a"), await cached(cache, "b"), await cached(cache, "c")];
  assertEquals([...found, cache.stats.entries], [1, undefined, 3, 2]);
});

Deno.test("an unused key is wiped when it expires, without a request", async () => {
  using cache = new KeyCache({ entries: 1, maxAgeMs: 5 });
  await put(cache, "a", 1);
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

Deno.test("a key that was asked for before the cache was cleared is not kept", async () => {
  using cache = setup().cache;
  const { promise, resolve } = Promise.withResolvers<SecretBytes>();
  const opened = cache.use("a", () => promise);
  cache.clear();
  resolve(key(1));
  assertEquals([(await opened).expose()[0], await cached(cache, "a")], [1, undefined]);
});

Deno.test("a wall clock that is moved, in either direction, neither keeps a key longer nor ends it", async () => {
  using cache = new KeyCache({ entries: 2, maxAgeMs: MAX_CACHE_MS });
  const { now } = Date;
  try {
    await put(cache, "a", 1);
    Date.now = () => now() + 2 * MAX_CACHE_MS;
    assertEquals(await cached(cache, "a"), 1);
    await put(cache, "b", 2);
    Date.now = () => now() - 2 * MAX_CACHE_MS;
    assertEquals(await cached(cache, "b"), 2);
  } finally {
    Date.now = now;
  }
});
