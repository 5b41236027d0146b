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
import { exportPublicKey, type HpkeKeyPair } from "../../shared/sealed/hpke.ts";
import { WireError } from "../../shared/wire/messages.ts";
import { type RotatedKey, RotatedKeys } from "../server/rotated_keys.ts";

/** How long a pair is given to clients. Milliseconds. */
export const KEY_LIFE_MS = 3_600_000;
/** How much longer it is accepted. Milliseconds; less than {@link KEY_LIFE_MS}, so that there are never more than two. */
export const KEY_GRACE_MS = 300_000;
/** Maximum number of client counters per key. About 10 MB. */
export const MAX_CLIENTS = 65_536;

/** One pair. */
export interface ServiceKey extends RotatedKey {
  readonly keys: HpkeKeyPair;
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
  #maxClients: number;
  #keys: RotatedKeys<Pick<ServiceKey, "keys" | "publicKey" | "counters">>;
  /** The session of each client key; at most as many as the configuration lists. */
  #sessions = new Map<string, Session>();

  constructor({ makeKeyPair, maxClients = MAX_CLIENTS, now, monotonic }: SealedKeysOptions) {
    this.#maxClients = maxClients;
    const make = async () => {
      const keys = await makeKeyPair();
      return { keys, publicKey: await exportPublicKey(keys.publicKey), counters: new Map<string, number>() };
    };
    this.#keys = new RotatedKeys({ make, lifeMs: KEY_LIFE_MS, graceMs: KEY_GRACE_MS, now, monotonic });
  }

  /** The key pair that clients should seal for. @throws {WireError} */
  current(): Promise<ServiceKey> {
    return this.#keys.current();
  }

  /** The pair with this id; undefined when it is unknown or has expired. */
  find(keyId: string): ServiceKey | undefined {
    return this.#keys.find(keyId);
  }

  /**
   * Whether a message may be opened at all.
   *
   * @throws {WireError} `sealed_replayed` when the counter does not grow, `busy` when there is no room for another client.
   */
  check(key: ServiceKey, { client, clientKey, counter }: CountedMessage): void {
    // Its counters are gone if it was dropped meanwhile.
    if (this.find(key.keyId) !== key) throw unknownKey();
    const last = clientKey === undefined
      ? key.counters.get(client)
      : this.#sessionOf(key, client, clientKey)?.counter;
    if (last !== undefined && counter <= last) {
      throw new WireError("sealed_replayed", `The counter must grow: ${counter} is not above ${last}`);
    }
    const isNew = clientKey === undefined && last === undefined;
    if (!isNew || key.counters.size < this.#maxClients) return;
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

  /** Drops the keys, which cannot be exported. */
  [Symbol.dispose](): void {
    this.#keys[Symbol.dispose]();
    this.#sessions.clear();
  }
}

/** The client's key is unknown or has expired. */
export function unknownKey(): WireError {
  return new WireError(
    "sealed_key_unknown",
    "There is no such key here, or no longer: ask for a new one (attest)",
  );
}
