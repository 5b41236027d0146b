/**
 * Opened keys, kept for a while for those who sign often: bounded in number and time, wiped when they go. Off unless it is given room.
 *
 * A key is looked up by a hash of everything that its release depended on, so that a hit never skips a check that a miss would have made,
 * but for the time that it lives.
 *
 * @module
 */
import { encode } from "cborg";
import { createHash } from "node:crypto";
import type { SecretBytes } from "../crypto/secret_bytes.ts";

/** The longest that a key may be kept, milliseconds. */
export const MAX_CACHE_MS = 300_000;

/** Options of {@link KeyCache}. */
export interface KeyCacheOptions {
  /** Keys at a time; 0 is off. */
  readonly entries: number;
  /** A key lives so long from when it was put in, however often it is used. Milliseconds, up to {@link MAX_CACHE_MS}. */
  readonly maxAgeMs: number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** Keeps nothing. */
export const NO_CACHE: KeyCacheOptions = { entries: 0, maxAgeMs: 0 };

interface Entry {
  readonly key: SecretBytes;
  readonly expires: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** What a cached key is found by. Unambiguous: the parts go in as a CBOR array. */
export function cacheId(parts: readonly (string | number | Uint8Array)[]): string {
  return createHash("sha256").update(encode(parts)).digest("hex");
}

/** The keys. `using` it wipes them. */
export class KeyCache implements Disposable {
  #options: Required<KeyCacheOptions>;
  /** In the order of their last use. */
  #entries = new Map<string, Entry>();
  #hits = 0;
  /** Raised whenever all keys go: what was asked for before is not kept. */
  #generation = 0;
  #disposed = false;

  constructor(options: KeyCacheOptions) {
    if (options.maxAgeMs > MAX_CACHE_MS) {
      throw new RangeError(`Cannot keep keys longer than ${MAX_CACHE_MS} ms`);
    }
    this.#options = { now: () => performance.now(), ...options };
  }

  /** Whether it keeps anything at all. */
  get enabled(): boolean {
    return this.#options.entries > 0;
  }

  get stats(): { readonly entries: number; readonly hits: number } {
    return { entries: this.#entries.size, hits: this.#hits };
  }

  /** A copy of the key, the caller's to dispose; undefined when it is not there, or no longer. */
  get(id: string): SecretBytes | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    if (this.#options.now() >= entry.expires) {
      this.#drop(id, entry);
      return undefined;
    }
    this.#entries.delete(id);
    this.#entries.set(id, entry);
    this.#hits++;
    return entry.key.clone();
  }

  /** To be taken before a key is asked for, and given to {@link put} with it. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Keeps a copy of the key; the one used longest ago makes room.
   *
   * @param generation of when it was asked for: after a denial in between, the key is not kept
   */
  put(id: string, key: SecretBytes, generation: number): void {
    if (!this.enabled || this.#disposed || generation !== this.#generation) return;
    const old = this.#entries.get(id);
    if (old !== undefined) this.#drop(id, old);
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size < this.#options.entries) break;
      this.#drop(oldest, entry);
    }
    const { maxAgeMs, now } = this.#options;
    const entry: Entry = {
      key: key.clone(),
      expires: now() + maxAgeMs,
      timer: setTimeout(() => this.#drop(id, entry), maxAgeMs),
    };
    // A key in the cache must not keep a process alive that is done.
    Deno.unrefTimer(Number(entry.timer));
    this.#entries.set(id, entry);
  }

  #drop(id: string, entry: Entry): void {
    clearTimeout(entry.timer);
    entry.key[Symbol.dispose]();
    if (this.#entries.get(id) === entry) this.#entries.delete(id);
  }

  /** Wipes all of them: KMS has denied something, and what it would say of these is not known. */
  clear(): void {
    this.#generation++;
    for (const [id, entry] of [...this.#entries]) this.#drop(id, entry);
  }

  /** For good: a request that is still under way puts nothing in. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.clear();
  }
}
