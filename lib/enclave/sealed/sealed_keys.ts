/**
 * The service's key pairs, which clients seal for, and each client's counter. A pair is made at the start and again every hour; the previous one
 * is accepted for a short time and then dropped, after which requests sealed for it no longer open. Counters are kept as long as their key, so no
 * request can be replayed.
 *
 * A client key has one session, over all pairs: the one that began last. Older ones are invalid, so that none of their messages takes effect after the new
 * session's.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { exportPublicKey, type HpkeKeyPair } from "../../shared/sealed/hpke.ts";
import { hashPublicKey } from "../../shared/sealed/message.ts";
import { WireError } from "../../shared/wire/messages.ts";

/** How long a pair is given to clients. Milliseconds. */
export const KEY_LIFE_MS = 3_600_000;
/** How much longer it is accepted. Milliseconds; less than {@link KEY_LIFE_MS}, so that there are never more than two. */
export const KEY_GRACE_MS = 300_000;
/** Maximum number of client counters per key. About 10 MB. */
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
  /** When clients should request the next one. */
  readonly expires: Date;
  /** By the monotonic clock. */
  readonly madeAt: number;
  /** The last counter of each client that has no key of its own. */
  readonly counters: Map<string, number>;
}

/** Identifies a client's message. */
export interface CountedMessage {
  /** The client's id, which is one session's. */
  readonly client: string;
  /** In auth mode: the client's public key. */
  readonly clientKey: string | undefined;
  readonly counter: number;
}

/** The only session of a client key that is served. */
interface Session {
  readonly key: ServiceKey;
  readonly client: string;
  readonly started: number;
  readonly counter: number;
}

/** Options of the keys. */
export interface SealedKeysOptions {
  /** Makes a new pair. @throws {WireError} if none may be made */
  readonly makeKeyPair: () => Promise<HpkeKeyPair>;
  readonly now: () => Date;
  /** Milliseconds, monotonic: decides on expiry, since the wall clock can be changed. */
  readonly monotonic: () => number;
  /** {@link MAX_CLIENTS} by default. For tests. */
  readonly maxClients?: number | undefined;
}

/** The pairs. */
export class SealedKeys implements Disposable {
  #options: SealedKeysOptions;
  /** The newest first, at most two. */
  #held: readonly ServiceKey[] = [];
  /** The session of each client key; at most as many as the configuration lists. */
  #sessions = new Map<string, Session>();
  #making: Promise<ServiceKey> | undefined;
  /** Those that have fired stay: one an hour. */
  #timers: ReturnType<typeof setTimeout>[] = [];
  #disposed = false;

  constructor(options: SealedKeysOptions) {
    this.#options = options;
  }

  /** The key pair that clients should seal for. Makes a new one when the newest has expired, and at first use. @throws {WireError} */
  async current(): Promise<ServiceKey> {
    const [newest] = this.#held;
    if (newest !== undefined && this.#age(newest) < KEY_LIFE_MS) return newest;
    return await (this.#making ??= this.#make().finally(() => this.#making = undefined));
  }

  /** The pair with this id; undefined when it is unknown or has expired. */
  find(keyId: string): ServiceKey | undefined {
    this.#dropOld();
    return this.#held.find((held) => held.keyId === keyId);
  }

  /**
   * Whether a message may be opened at all.
   *
   * @throws {WireError} `sealed_replayed` when the counter does not grow, `busy` when there is no room for another client.
   */
  check(key: ServiceKey, { client, clientKey, counter }: CountedMessage): void {
    // Its counters are gone if it was dropped meanwhile.
    if (!this.#held.includes(key)) throw unknownKey();
    const last = clientKey === undefined
      ? key.counters.get(client)
      : this.#sessionOf(key, client, clientKey)?.counter;
    if (last !== undefined && counter <= last) {
      throw new WireError("sealed_replayed", `The counter must grow: ${counter} is not above ${last}`);
    }
    const isNew = clientKey === undefined && last === undefined;
    if (!isNew || key.counters.size < (this.#options.maxClients ?? MAX_CLIENTS)) return;
    throw new WireError(
      "busy",
      "As many clients as are counted have sealed for this key: wait for the next one",
    );
  }

  /**
   * As {@link check}, and from now on the counter is used. A new session of a client key voids those that began before it.
   *
   * @throws {WireError} `sealed_replayed`, also for an invalidated session
   */
  use(key: ServiceKey, message: CountedMessage & { readonly sessionStarted: number }): void {
    this.check(key, message);
    const { client, clientKey, counter, sessionStarted: started } = message;
    if (clientKey === undefined) return void key.counters.set(client, counter);
    const newest = this.#sessions.get(clientKey);
    const same = this.#sessionOf(key, client, clientKey);
    if (newest !== undefined && same === undefined && started <= newest.started) {
      throw new WireError(
        "sealed_replayed",
        "This client key has begun a newer session, and its older ones are void: attest and seal anew",
      );
    }
    this.#sessions.set(clientKey, { key, client, counter, started: same?.started ?? started });
  }

  /** The session of a client key, if it is this one. */
  #sessionOf(key: ServiceKey, client: string, clientKey: string): Session | undefined {
    const session = this.#sessions.get(clientKey);
    return session?.key === key && session.client === client ? session : undefined;
  }

  #age({ madeAt }: ServiceKey): number {
    return this.#options.monotonic() - madeAt;
  }

  #dropOld(): void {
    this.#held = this.#held.filter((held) => this.#age(held) < KEY_LIFE_MS + KEY_GRACE_MS);
  }

  async #make(): Promise<ServiceKey> {
    const keys = await this.#options.makeKeyPair();
    const publicKey = await exportPublicKey(keys.publicKey);
    const keyHash = await hashPublicKey(publicKey);
    if (this.#disposed) throw new WireError("internal_error", "The service is ending");
    const made: ServiceKey = {
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
    // Drops it when it expires, also without a request. The timer must not keep the process alive.
    const timer = setTimeout(() => this.#dropOld(), KEY_LIFE_MS + KEY_GRACE_MS + 1);
    Deno.unrefTimer(Number(timer));
    this.#timers.push(timer);
    return made;
  }

  /** Drops the keys, which cannot be exported. A key that is still being made is discarded. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#held = [];
    this.#sessions.clear();
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/** The client's key is unknown or has expired. */
export function unknownKey(): WireError {
  return new WireError(
    "sealed_key_unknown",
    "There is no such key here, or no longer: ask for a new one (attest)",
  );
}
