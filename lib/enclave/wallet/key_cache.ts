/**
 * A cache of opened keys for frequent signing: limited in number and time, wiped on removal. Off by default.
 *
 * A key is looked up by a hash of everything that its release depended on, so a hit never skips a check that a miss would have made, except
 * for changes on KMS's side while the key is cached.
 *
 * @module
 */
import { encode } from "cborg";
import { createHash } from "node:crypto";
import { MAX_CACHE_MS } from "../../shared/cli/wallet_options.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";

/** Options of {@link KeyCache}. */
export interface KeyCacheOptions {
  /** Maximum number of keys; 0 is off. */
  readonly entries: number;
  /** A key is kept this long after it was added, however often it is used. Milliseconds, up to {@link MAX_CACHE_MS}. */
  readonly maxAgeMs: number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

interface Entry {
  readonly key: SecretBytes;
  readonly expires: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** What a cached key is found by. Unambiguous: the parts go in as a CBOR array. */
export function cacheId(parts: readonly (string | number | Uint8Array)[]): string {
  return createHash("sha256").update(encode(parts)).digest("hex");
}

/** The cache. Disposing wipes the keys. */
export class KeyCache implements Disposable {
  #options: Required<KeyCacheOptions>;
  /** In the order of their last use. */
  #entries = new Map<string, Entry>();
  #hits = 0;
  /** Incremented whenever all keys are wiped: keys requested before are then not kept. */
  #generation = 0;
  #disposed = false;

  constructor(options: KeyCacheOptions) {
    if (options.maxAgeMs > MAX_CACHE_MS) {
      throw new RangeError(`Cannot keep keys longer than ${MAX_CACHE_MS} ms`);
    }
    this.#options = { now: () => performance.now(), ...options };
  }

  /** Whether the cache is on. */
  get enabled(): boolean {
    return this.#options.entries > 0;
  }

  get stats(): { readonly entries: number; readonly hits: number } {
    return { entries: this.#entries.size, hits: this.#hits };
  }

  /**
   * The key with this id: a copy of the cached one, or the one that `open` gives, of which a copy is then kept
   * unless there was a denial while it was opened.
   *
   * @returns the caller's to dispose
   */
  async use(id: string, open: () => Promise<SecretBytes>): Promise<SecretBytes> {
    const held = this.#entries.get(id);
    if (held !== undefined) {
      if (this.#options.now() < held.expires) {
        this.#entries.delete(id);
        this.#entries.set(id, held);
        this.#hits++;
        return held.key.clone();
      }
      this.#drop(id);
    }
    const generation = this.#generation;
    const key = await open();
    if (this.enabled && !this.#disposed && generation === this.#generation) this.#keep(id, key);
    return key;
  }

  /** Keeps a copy of a key; the least recently used key is removed if the cache is full. */
  #keep(id: string, key: SecretBytes): void {
    this.#drop(id);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < this.#options.entries) break;
      this.#drop(oldest);
    }
    const { maxAgeMs, now } = this.#options;
    const timer = setTimeout(() => this.#drop(id), maxAgeMs);
    // A cached key must not keep the process alive.
    Deno.unrefTimer(Number(timer));
    this.#entries.set(id, { key: key.clone(), expires: now() + maxAgeMs, timer });
  }

  #drop(id: string): void {
    const entry = this.#entries.get(id);
    clearTimeout(entry?.timer);
    entry?.key[Symbol.dispose]();
    this.#entries.delete(id);
  }

  /** Wipes all keys: after a denial by KMS, it is unknown whether KMS would still release these. */
  clear(): void {
    this.#generation++;
    for (const id of this.#entries.keys()) this.#drop(id);
  }

  /** Wipes all keys for good: requests still in progress add none. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.clear();
  }
}
