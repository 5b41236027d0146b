/**
 * Key pairs of the service, each known by a hash of its public key. One is made at first use, and another when its life is over; the one before it is
 * kept for some more time and then dropped.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { hashPublicKey } from "../../shared/sealed/message.ts";
import { WireError } from "../../shared/wire/messages.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What all key pairs have. */
export interface RotatedKey {
  readonly publicKey: Bytes;
  /** SHA-256 of the public key. */
  readonly keyHash: Bytes;
  /** The hash, base64. */
  readonly keyId: string;
  /** When the next one replaces it. */
  readonly expires: Date;
  /** By the monotonic clock. */
  readonly madeAt: number;
}

/** Options of {@link RotatedKeys}. */
interface RotatedKeysOptions<K> {
  /** Makes a new pair. @throws {WireError} if none may be made */
  readonly make: () => Promise<K>;
  /** How long a pair is used. Milliseconds. */
  readonly lifeMs: number;
  /** How much longer it is kept. Milliseconds; at most `lifeMs`, so that there are never more than two. */
  readonly graceMs: number;
  readonly now: () => Date;
  /** Milliseconds, monotonic: decides on expiry, since the wall clock can be changed. */
  readonly monotonic: () => number;
}

/** The pairs: what `make` gives, and what they have in common. */
export class RotatedKeys<K extends Pick<RotatedKey, "publicKey">> implements Disposable {
  #options: RotatedKeysOptions<K>;
  /** The newest first, at most two. */
  #held: readonly (K & RotatedKey)[] = [];
  #making: Promise<K & RotatedKey> | undefined;
  /** Those that have fired stay: one for each pair. */
  #timers: ReturnType<typeof setTimeout>[] = [];
  #disposed = false;

  constructor(options: RotatedKeysOptions<K>) {
    this.#options = options;
  }

  /** The pair in use. Makes a new one when the newest has expired, and at first use. @throws {WireError} */
  async current(): Promise<K & RotatedKey> {
    const [newest] = this.#held;
    if (newest !== undefined && this.#age(newest) < this.#options.lifeMs) return newest;
    return await (this.#making ??= this.#make().finally(() => this.#making = undefined));
  }

  /** The pair with this id; undefined when it is unknown or was dropped. */
  find(keyId: string): (K & RotatedKey) | undefined {
    this.#dropOld();
    return this.#held.find((held) => held.keyId === keyId);
  }

  #age({ madeAt }: RotatedKey): number {
    return this.#options.monotonic() - madeAt;
  }

  #dropOld(): void {
    const { lifeMs, graceMs } = this.#options;
    this.#held = this.#held.filter((held) => this.#age(held) < lifeMs + graceMs);
  }

  async #make(): Promise<K & RotatedKey> {
    const { lifeMs, graceMs, now, monotonic } = this.#options;
    const pair = await this.#options.make();
    const keyHash = await hashPublicKey(pair.publicKey);
    if (this.#disposed) throw new WireError("internal_error", "The service is ending");
    const made = {
      ...pair,
      keyHash,
      keyId: encodeBase64(keyHash),
      expires: new Date(now().getTime() + lifeMs),
      madeAt: monotonic(),
    };
    this.#dropOld();
    this.#held = [made, ...this.#held.slice(0, 1)];
    // Drops it when it expires, also without a request. The timer must not keep the process alive.
    const timer = setTimeout(() => this.#dropOld(), lifeMs + graceMs + 1);
    Deno.unrefTimer(Number(timer));
    this.#timers.push(timer);
    return made;
  }

  /** Drops the pairs. One that is still being made is discarded. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#held = [];
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
