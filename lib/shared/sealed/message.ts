/**
 * Sealed messages and their bindings. A request is sealed with HPKE for the key that the enclave attested to; the reply is sealed under a secret that
 * only the two sides of that request have.
 *
 * - `info` of HPKE: protocol version, request type, hash of the attested key. This prevents opening it as another kind of message, or with another key.
 * - Additional data of a request: client id and counter, which must grow. This prevents replays.
 * - Inside the ciphertext, before the request's bytes: when the client's session began, when the request was sealed and when it expires, each as
 *   milliseconds since 1970, 8 bytes big-endian. This prevents whoever carries the messages from delivering one later than the enclave allows.
 * - The reply's key comes from HPKE's exporter, with client id and counter as context; they are also the reply's additional data. So a reply cannot be
 *   used for another request. Its nonce is random, so that two replies never use the same one.
 *
 * Lengths and timing are not hidden, and messages are not padded: whoever carries them can see a request's size, and often guess its type.
 *
 * Runs in browsers.
 *
 * @module
 */
import { encode } from "cborg";
import { concat } from "../bytes.ts";
import { SealedError } from "./errors.ts";
import { type HpkeContext, type HpkeKeyPair, setupRecipient } from "./hpke.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Length of a client id in bytes. It must be random: two clients with the same id would block each other's counters. */
export const CLIENT_ID_LENGTH = { min: 16, max: 32 } as const;
/** The largest counter. */
export const MAX_COUNTER: number = Number.MAX_SAFE_INTEGER;

const PROTOCOL = "denclave-sealed";
/** Version of the format; version 1 had no times. */
const VERSION = 2;
/** Bytes of a reply's nonce. */
export const NONCE_LENGTH = 12;

/** What identifies a message. */
export interface MessageName {
  /** {@link hashPublicKey} of the recipient's key. */
  readonly keyHash: Uint8Array;
  /** 16 to 32 bytes. */
  readonly clientId: Uint8Array;
  /** From 1 to {@link MAX_COUNTER}. */
  readonly counter: number;
}

/** When a request is valid, by its sender's clock. Milliseconds since 1970. */
export interface MessageTimes {
  /** When the session (a client id for one key) began. */
  readonly sessionStarted: number;
  /** When the request was sealed. */
  readonly sealedAt: number;
  /** When it expires. */
  readonly expiresAt: number;
}

/** Bytes of the three times, in front of the request. */
export const TIMES_LENGTH = 24;

/** An opened request, and the function that seals its reply. */
export interface OpenedRequest {
  /** The times of the sender's clock. */
  readonly times: MessageTimes;
  /** The caller's to wipe. */
  readonly plaintext: Uint8Array<ArrayBuffer>;
  /** Seals the reply: nonce, ciphertext, tag. @param nonce {@link NONCE_LENGTH} random bytes */
  readonly sealReply: (plaintext: Bytes, nonce: Bytes) => Promise<Bytes>;
  /** What the salts of the request's receipt are derived from, 32 bytes. */
  readonly receiptSecret: () => Promise<Bytes>;
}

/** Identifies a key: SHA-256 of its 32 bytes. */
export async function hashPublicKey(publicKey: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(publicKey)));
}

/** HPKE's `info`. */
export function infoOf(keyHash: Uint8Array): Uint8Array {
  return encode([PROTOCOL, VERSION, "sealed", keyHash]);
}

/** The additional data of a message, and the exporter's contexts. */
export function dataOf(
  direction: "request" | "reply" | "receipt",
  { keyHash, clientId, counter }: MessageName,
): Uint8Array {
  return encode([PROTOCOL, VERSION, direction, keyHash, clientId, counter]);
}

/** Times above the safe integers are read as very late; the request is then refused. */
function timesOf(whole: Bytes): MessageTimes {
  if (whole.length < TIMES_LENGTH) {
    throw new SealedError("sealed_not_opened", "The sealed request has no times");
  }
  const view = new DataView(whole.buffer, whole.byteOffset);
  const time = (index: number) => Number(view.getBigUint64(8 * index));
  return { sessionStarted: time(0), sealedAt: time(1), expiresAt: time(2) };
}

/** The key of a request's reply. */
export async function replyKey(context: HpkeContext, name: MessageName): Promise<CryptoKey> {
  const secret = await context.exportSecret(dataOf("reply", name));
  try {
    return await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt", "decrypt"]);
  } finally {
    secret.fill(0);
  }
}

/** How a reply is sealed. */
export function cipherOf(nonce: Bytes, name: MessageName) {
  return { name: "AES-GCM", iv: nonce, additionalData: new Uint8Array(dataOf("reply", name)) } as const;
}

/**
 * Opens a request. The caller must check that it is not a replay, and that it is not late.
 *
 * @param options.senderPublicKey of the client that must have sealed it (HPKE's auth mode)
 * @throws {SealedError} `sealed_not_opened`
 */
export async function openRequest(
  keys: HpkeKeyPair,
  { enc, ciphertext }: { readonly enc: Uint8Array; readonly ciphertext: Uint8Array },
  options: MessageName & { readonly senderPublicKey?: CryptoKey | undefined },
): Promise<OpenedRequest> {
  let context: HpkeContext;
  let whole: Bytes;
  try {
    context = await setupRecipient(keys, { ...options, info: infoOf(options.keyHash), enc });
    whole = await context.apply(ciphertext, dataOf("request", options));
  } catch (thrown) {
    throw new SealedError("sealed_not_opened", "The sealed request does not open", thrown);
  }
  return {
    times: timesOf(whole),
    plaintext: whole.subarray(TIMES_LENGTH),
    receiptSecret: () => context.exportSecret(dataOf("receipt", options)),
    sealReply: async (reply, nonce) => {
      const key = await replyKey(context, options);
      const sealed = await crypto.subtle.encrypt(cipherOf(nonce, options), key, reply);
      return concat([nonce, new Uint8Array(sealed)]);
    },
  };
}
