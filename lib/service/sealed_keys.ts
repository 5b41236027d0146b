/**
 * The service's own key pairs, which clients seal for, and how far each client has counted. A pair is made at the start and again every hour; the last one
 * is taken for a short while more, then it is gone, and what was sealed for it with it. Counters live as long as their key: nothing is forgotten that
 * could then be sent again.
 *
 * A client key has one session, over all pairs: the one that began last. Older ones are void, so that none of their messages takes effect after the new
 * session's.
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
  /** The client's id, which is one session's. */
  readonly client: string;
  /** In auth mode: the client's public key. */
  readonly clientKey: string | undefined;
  readonly counter: number;
}

/** A message that was opened: its sender says when the session began. */
export interface OpenedMessage extends CountedMessage {
  /** Milliseconds since 1970. */
  readonly sessionStarted: number;
}

/** The one session of a client key that is served. */
interface Session {
  readonly keyId: string;
  readonly client: string;
  readonly started: number;
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
  /** Of each client key; as many as the configuration lists. */
  #sessions = new Map<string, Session>();
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

  /**
   * Whether a message may be opened at all.
   *
   * @throws {WireError} `sealed_replayed` when the counter does not grow, `busy` when there is no room for another client.
   */
  check(key: ServiceKey, { client, clientKey, counter }: CountedMessage): void {
    const counters = this.#countersOf(key);
    if (clientKey !== undefined) {
      const session = this.#sessions.get(clientKey);
      if (session?.keyId === key.keyId && session.client === client) checkGrows(counter, session.counter);
      return;
    }
    const last = counters.get(client);
    if (last !== undefined) return checkGrows(counter, last);
    if (counters.size < (this.#options.maxClients ?? MAX_CLIENTS)) return;
    throw new WireError(
      "busy",
      "As many clients as are counted have sealed for this key: wait for the next one",
    );
  }

  /**
   * As {@link check}, and from now on the counter is used. A new session of a client key voids those that began before it.
   *
   * @throws {WireError} `sealed_replayed` for a session that is void, too
   */
  use(key: ServiceKey, message: OpenedMessage): void {
    this.check(key, message);
    const { client, clientKey, counter, sessionStarted: started } = message;
    if (clientKey === undefined) {
      this.#countersOf(key).set(client, counter);
      return;
    }
    const { keyId } = key;
    const session = this.#sessions.get(clientKey);
    const isSame = session?.keyId === keyId && session.client === client;
    if (session !== undefined && !isSame && started <= session.started) {
      throw new WireError(
        "sealed_replayed",
        "This client key has begun a newer session, and its older ones are void: attest and seal anew",
      );
    }
    this.#sessions.set(clientKey, { keyId, client, counter, started: isSame ? session.started : started });
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
    this.#sessions.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    // One that is being made is thrown away when it is there.
    await this.#making?.catch(() => {});
  }
}

function checkGrows(counter: number, last: number): void {
  if (counter > last) return;
  throw new WireError("sealed_replayed", `The counter must grow: ${counter} is not above ${last}`);
}

/** The key that a client means is not there, or no longer. */
export function unknownKey(): WireError {
  return new WireError(
    "sealed_key_unknown",
    "There is no such key here, or no longer: ask for a new one (attest)",
  );
}
