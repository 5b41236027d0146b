/**
 * Seals requests, and opens their replies: the other side of `message.ts`. For clients, so never part of the enclave's binary.
 *
 * Runs in browsers.
 *
 * @module
 */
import { SealedError } from "./errors.ts";
import { type HpkeContext, type HpkeKeyPair, SUITE } from "./hpke.ts";
import {
  cipherOf,
  dataOf,
  infoOf,
  type MessageName,
  type MessageTimes,
  NONCE_LENGTH,
  replyKey,
  TIMES_LENGTH,
} from "./message.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A sealed request, and the function that opens its reply. */
interface SealedBytes {
  /** The encapsulated key. */
  readonly enc: Uint8Array<ArrayBuffer>;
  /** Ciphertext with its tag. */
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  /** Opens the reply. @throws {SealedError} `sealed_not_opened` */
  readonly openReply: (sealed: Uint8Array) => Promise<Uint8Array<ArrayBuffer>>;
  /** What the salts of the request's receipt are derived from. 32 bytes. */
  readonly receiptSecret: () => Promise<Uint8Array<ArrayBuffer>>;
}

function withTimes(plaintext: Uint8Array, times: MessageTimes): Bytes {
  const whole = new Uint8Array(TIMES_LENGTH + plaintext.length);
  const view = new DataView(whole.buffer);
  const { sessionStarted, sealedAt, expiresAt } = times;
  for (const [index, time] of [sessionStarted, sealedAt, expiresAt].entries()) {
    view.setBigUint64(8 * index, BigInt(time));
  }
  whole.set(plaintext, TIMES_LENGTH);
  return whole;
}

/**
 * The sender's side.
 *
 * @param options.senderKey for auth mode, which authenticates the sender
 * @param options.ephemeral only for test vectors
 */
export async function setupSender(
  recipient: CryptoKey,
  options: {
    readonly info: Uint8Array;
    readonly senderKey?: HpkeKeyPair | undefined;
    readonly ephemeral?: Uint8Array;
  },
): Promise<HpkeContext & { readonly enc: Uint8Array<ArrayBuffer> }> {
  const { info, senderKey, ephemeral } = options;
  const context = await SUITE.createSenderContext({
    recipientPublicKey: recipient,
    info,
    ...(senderKey === undefined ? {} : { senderKey }),
    ...(ephemeral === undefined ? {} : { ekm: ephemeral }),
  });
  return {
    enc: new Uint8Array(context.enc),
    apply: async (text, additionalData) => new Uint8Array(await context.seal(text, additionalData)),
    exportSecret: async (label) => new Uint8Array(await context.export(label, 32)),
  };
}

/**
 * Seals a request.
 *
 * @param options.times whole numbers from 0
 * @param recipient the key that the enclave attested to
 * @param options.senderKey for a service that knows its clients (HPKE's auth mode)
 */
export async function sealRequest(
  recipient: CryptoKey,
  plaintext: Uint8Array,
  options: MessageName & { readonly times: MessageTimes; readonly senderKey?: HpkeKeyPair | undefined },
): Promise<SealedBytes> {
  const { senderKey, times } = options;
  const context = await setupSender(recipient, { info: infoOf(options.keyHash), senderKey });
  const whole = withTimes(plaintext, times);
  const ciphertext = await context.apply(whole, dataOf("request", options)).finally(() => whole.fill(0));
  return {
    enc: context.enc,
    ciphertext,
    receiptSecret: () => context.exportSecret(dataOf("receipt", options)),
    openReply: async (sealed) => {
      const nonce = new Uint8Array(sealed.subarray(0, NONCE_LENGTH));
      const key = await replyKey(context, options);
      try {
        const rest = new Uint8Array(sealed.subarray(NONCE_LENGTH));
        return new Uint8Array(await crypto.subtle.decrypt(cipherOf(nonce, options), key, rest));
      } catch (thrown) {
        throw new SealedError("sealed_not_opened", "The sealed reply does not open", thrown);
      }
    },
  };
}
