/**
 * The client's side of sealed messages: JSON in, JSON out, over any transport. The key that it seals for must come from a verified attestation
 * document (`lib/ctl/client/sealed_client.ts` does both).
 *
 * Runs in browsers.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { field, parseObject, type WireObject } from "../wire/messages.ts";
import { SealedError } from "./errors.ts";
import { exportPublicKey, type HpkeKeyPair, importPublicKey } from "./hpke.ts";
import { CLIENT_ID_LENGTH, hashPublicKey, MAX_COUNTER } from "./message.ts";
import { sealRequest } from "./seal_request.ts";

/** A sealed request in its sent form. Bytes in base64. */
export interface SealedRequest {
  /** The request's type. */
  readonly type: "sealed";
  /** SHA-256 of the key that it is sealed for. */
  readonly key_id: string;
  /** The client's id, which the counter belongs to. */
  readonly client_id: string;
  /** Grows with each request. */
  readonly counter: number;
  /** HPKE's encapsulated key. */
  readonly enc: string;
  /** The request's JSON, sealed. */
  readonly ciphertext: string;
  /** In auth mode: the client's public key. */
  readonly client_key?: string;
}

/** A sealed request, and the function that opens its reply. */
export interface SealedExchange {
  /** The message to send. */
  readonly message: SealedRequest;
  /**
   * Opens the answer.
   *
   * @throws {SealedError} `sealed_reply` when it is not a sealed reply, `sealed_not_opened` when it is not for this request.
   */
  readonly open: (reply: WireObject) => Promise<WireObject>;
  /** The message's ciphertext: what a receipt of it names as its request. */
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  /** What the salts of its receipt are derived from. 32 bytes. */
  readonly receiptSecret: () => Promise<Uint8Array<ArrayBuffer>>;
}

/** Options of {@link SealedSender.create}. */
export interface SealedSenderOptions {
  /** For a service that knows its clients (HPKE's auth mode). */
  readonly clientKey?: HpkeKeyPair | undefined;
  /** 16 to 32 bytes; random by default. */
  readonly clientId?: Uint8Array | undefined;
  /** The last counter that was used with this client id and key; 0 by default. */
  readonly lastCounter?: number | undefined;
  /** How long each request is valid after sealing: milliseconds, {@link DEFAULT_LIFE_MS} by default. The service also has its own limit. */
  readonly lifeMs?: number | undefined;
  /** The client's clock, milliseconds since 1970. */
  readonly clock?: (() => number) | undefined;
}

/** How long a sealed request is valid by default. Milliseconds. */
export const DEFAULT_LIFE_MS = 60_000;
/** The longest allowed validity. Milliseconds. */
const MAX_LIFE_MS = 3_600_000;

/** Makes a key pair, for a client. The enclave's pairs are not made here. */
export async function generateKeyPair(): Promise<HpkeKeyPair> {
  const keys = await crypto.subtle.generateKey("X25519", false, ["deriveBits"]);
  if (!("privateKey" in keys)) throw new TypeError("X25519 gives a pair");
  return keys;
}

/** Sessions of one process begin one after the other, also within a millisecond: with a client key, each invalidates the earlier ones. */
let lastStart = 0;

function nextStart(): number {
  lastStart = Math.max(lastStart + 1, Date.now());
  return lastStart;
}

/** What stays the same in all requests of a session. */
interface SenderSession {
  readonly recipient: CryptoKey;
  readonly keyHash: Uint8Array;
  readonly clientId: Uint8Array;
  readonly clientKey: HpkeKeyPair | undefined;
  readonly clientPublicKey: string | undefined;
  readonly started: number;
  readonly lifeMs: number;
  readonly clock: () => number;
}

/** Seals requests for one key of the enclave's, and counts them. Send them in the order in which they were sealed. */
export class SealedSender {
  /** SHA-256 of the enclave's key, base64. */
  readonly keyId: string;
  #session: SenderSession;
  #counter: number;

  private constructor(session: SenderSession, lastCounter: number) {
    this.keyId = encodeBase64(session.keyHash);
    this.#session = session;
    this.#counter = lastCounter;
  }

  /**
   * Makes a sender for a key that the enclave attested to.
   *
   * @param publicKey 32 bytes, from a verified document
   * @throws {RangeError} on another length, or on options out of range.
   */
  static async create(publicKey: Uint8Array, options: SealedSenderOptions = {}): Promise<SealedSender> {
    const { clientKey, lastCounter = 0, lifeMs = DEFAULT_LIFE_MS, clock } = options;
    const clientId = new Uint8Array(
      options.clientId ?? crypto.getRandomValues(new Uint8Array(CLIENT_ID_LENGTH.min)),
    );
    if (clientId.length < CLIENT_ID_LENGTH.min || clientId.length > CLIENT_ID_LENGTH.max) {
      throw new RangeError(
        `Cannot use a client id of ${clientId.length} bytes: it has ${CLIENT_ID_LENGTH.min} to ${CLIENT_ID_LENGTH.max}`,
      );
    }
    if (!Number.isSafeInteger(lastCounter) || lastCounter < 0) {
      throw new RangeError(`Cannot count on from ${lastCounter}`);
    }
    if (!Number.isSafeInteger(lifeMs) || lifeMs < 1 || lifeMs > MAX_LIFE_MS) {
      throw new RangeError(`Cannot seal for ${lifeMs} ms: 1 to ${MAX_LIFE_MS} are allowed`);
    }
    const session = {
      recipient: await importPublicKey(publicKey),
      keyHash: await hashPublicKey(publicKey),
      clientId,
      clientKey,
      clientPublicKey: clientKey && encodeBase64(await exportPublicKey(clientKey.publicKey)),
      started: clock === undefined ? nextStart() : Math.floor(clock()),
      lifeMs,
      clock: clock ?? Date.now,
    };
    return new SealedSender(session, lastCounter);
  }

  /**
   * Seals a request.
   *
   * @throws {SealedError} `sealed_counter`
   */
  async seal(request: WireObject): Promise<SealedExchange> {
    if (this.#counter >= MAX_COUNTER) {
      throw new SealedError("sealed_counter", "Cannot seal another request: the last counter was used");
    }
    const counter = ++this.#counter;
    const plaintext = new TextEncoder().encode(JSON.stringify(request));
    const { recipient, keyHash, clientId, clientKey, clientPublicKey, started, lifeMs, clock } =
      this.#session;
    // A session that began within the last millisecond may be a little ahead of the clock.
    const sealedAt = Math.max(started, Math.floor(clock()));
    const name = { keyHash, clientId, counter, senderKey: clientKey };
    const times = { sessionStarted: started, sealedAt, expiresAt: sealedAt + lifeMs };
    const sealed = await sealRequest(recipient, plaintext, { ...name, times })
      .finally(() => plaintext.fill(0));
    return {
      message: {
        type: "sealed",
        key_id: this.keyId,
        client_id: encodeBase64(clientId),
        counter,
        enc: encodeBase64(sealed.enc),
        ciphertext: encodeBase64(sealed.ciphertext),
        ...(clientPublicKey === undefined ? {} : { client_key: clientPublicKey }),
      },
      ciphertext: sealed.ciphertext,
      receiptSecret: sealed.receiptSecret,
      open: async (reply) => parseObject(await sealed.openReply(sealedReply(reply))),
    };
  }
}

function sealedReply(reply: WireObject): Uint8Array {
  const ciphertext = field(reply, "ciphertext");
  if (field(reply, "type") === "sealed" && typeof ciphertext === "string") {
    try {
      return decodeBase64(ciphertext);
    } catch {
      // Reported below.
    }
  }
  throw new SealedError("sealed_reply", "There is no sealed reply in the answer");
}
