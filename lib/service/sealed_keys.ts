/**
 * The service's own key pairs, which clients seal for, and how far each client has counted. A pair is made at the start and again every hour; the last one
 * is taken for a short while more, then it is gone, and what was sealed for it with it. Counters live as long as their key: nothing is forgotten that
 * could then be sent again.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { exportPublicKey, generateKeyPair, type HpkeKeyPair } from "../sealed/hpke.ts";
import { hashPublicKey } from "../sealed/message.ts";
import { WireError } from "../wire/messages.ts";

/** A pair is given to clients for so long. Milliseconds. */
export const KEY_LIFE_MS = 3_600_000;
/** And taken for so much longer. Milliseconds; less than {@link KEY_LIFE_MS}, so that there are never more than two. */
export const KEY_GRACE_MS = 300_000;
/** Clients that one key counts for. About 10 MB. */
export const MAX_CLIENTS = 65_536;

/** One pair. */
export interface ServiceKey {
  readonly keys: HpkeKeyPair;
  /** 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** SHA-256 of the public key. */
  readonly keyHash: Uint8Array<ArrayBuffer>;
  /** The hash, base64. */
  readonly keyId: string;
  /** When clients should ask for the next one. */
  readonly expires: Date;
}

interface HeldKey extends ServiceKey {
  /** On the monotonic clock. */
  readonly madeAt: number;
  /** The last counter of each client. */
  readonly counters: Map<string, number>;
}

/** Whose message it is, and which. */
export interface CountedMessage {
  readonly client: string;
  readonly counter: number;
}

/** What the keys need. */
export interface SealedKeysOptions {
  /** Throws where no key may be made. */
  readonly checkEntropy: () => void;
  readonly now: () => Date;
  /** Milliseconds, monotonic: what decides, since the wall clock can be moved. */
  readonly monotonic: () => number;
  /** {@link MAX_CLIENTS}, unless a test says otherwise. */
  readonly maxClients?: number | undefined;
}

/** The pairs. */
export class SealedKeys implements AsyncDisposable {
  #options: SealedKeysOptions;
  /** The newest first, at most two. */
  #held: readonly HeldKey[] = [];
  #making: Promise<HeldKey> | undefined;
  #timers = new Set<ReturnType<typeof setTimeout>>();
  #disposed = false;

  constructor(options: SealedKeysOptions) {
    this.#options = options;
  }

  /** The pair that clients should seal for; made when there is none, or when its time is over. @throws {WireError} */
  async current(): Promise<ServiceKey> {
    const [newest] = this.#held;
    if (newest !== undefined && this.#age(newest) < KEY_LIFE_MS) return newest;
    this.#making ??= this.#make().finally(() => this.#making = undefined);
    return await this.#making;
  }

  /** The pair of this name; undefined when there is none, or no longer. */
  find(keyId: string): ServiceKey | undefined {
    this.#dropOld();
    return this.#held.find((held) => held.keyId === keyId);
  }

  /** @throws {WireError} `sealed_replayed` when the counter does not grow, `busy` when there is no room for another client. */
  check(key: ServiceKey, { client, counter }: CountedMessage): void {
    const counters = this.#countersOf(key);
    const last = counters.get(client);
    if (last === undefined) {
      if (counters.size < (this.#options.maxClients ?? MAX_CLIENTS)) return;
      throw new WireError(
        "busy",
        "As many clients as are counted have sealed for this key: wait for the next one",
      );
    }
    if (counter > last) return;
    throw new WireError(
      "sealed_replayed",
      `The counter must grow: ${counter} is not above ${last}`,
    );
  }

  /** As {@link check}, and from now on the counter is used. */
  use(key: ServiceKey, message: CountedMessage): void {
    this.check(key, message);
    this.#countersOf(key).set(message.client, message.counter);
  }

  /** Of a key that went meanwhile, nothing is known any more: so nothing is taken. */
  #countersOf(key: ServiceKey): Map<string, number> {
    const held = this.#held.find(({ keyId }) => keyId === key.keyId);
    if (held !== undefined) return held.counters;
    throw unknownKey();
  }

  #age({ madeAt }: HeldKey): number {
    return this.#options.monotonic() - madeAt;
  }

  #dropOld(): void {
    this.#held = this.#held.filter((held) => this.#age(held) < KEY_LIFE_MS + KEY_GRACE_MS);
  }

  async #make(): Promise<HeldKey> {
    this.#options.checkEntropy();
    const keys = await generateKeyPair();
    const publicKey = await exportPublicKey(keys.publicKey);
    const keyHash = await hashPublicKey(publicKey);
    if (this.#disposed) throw new WireError("internal_error", "The service is ending");
    const made: HeldKey = {
      keys,
      publicKey,
      keyHash,
      keyId: encodeBase64(keyHash),
      expires: new Date(this.#options.now().getTime() + KEY_LIFE_MS),
      madeAt: this.#options.monotonic(),
      counters: new Map(),
    };
    this.#dropOld();
    this.#held = [made, ...this.#held.slice(0, 1)];
    this.#dropInTime();
    return made;
  }

  /** A key goes when its time is over, also when nobody asks for it. */
  #dropInTime(): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#dropOld();
    }, KEY_LIFE_MS + KEY_GRACE_MS + 1);
    // It must not keep a process alive that is done.
    Deno.unrefTimer(Number(timer));
    this.#timers.add(timer);
  }

  /** The keys cannot be exported, and go with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#held = [];
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    // One that is being made is thrown away when it is there.
    await this.#making?.catch(() => {});
  }
}

/** The key that a client means is not there, or no longer. */
export function unknownKey(): WireError {
  return new WireError(
    "sealed_key_unknown",
    "There is no such key here, or no longer: ask for a new one (attest)",
  );
}
