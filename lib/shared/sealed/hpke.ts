/**
 * HPKE (RFC 9180) with the one suite in use: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. A thin layer over `@hpke/core`, which uses
 * only WebCrypto; private keys that are made here cannot be exported. Each context
 * is for one message.
 *
 * Runs in browsers.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { concat } from "../bytes.ts";

/** Bytes of a public key, and of an encapsulated key. */
export const PUBLIC_KEY_LENGTH = 32;
/** Bytes of a private key. */
export const PRIVATE_KEY_LENGTH = 32;

const X25519 = "X25519";
/** The suite. */
export const SUITE = new CipherSuite({
  kem: new DhkemX25519HkdfSha256(),
  kdf: new HkdfSha256(),
  aead: new Aes256Gcm(),
});
/** PKCS #8 of an X25519 key, before the key's bytes. RFC 8410. */
const PKCS8_HEAD = decodeHex("302e020100300506032b656e04220420");
const BASE_POINT = new Uint8Array(PUBLIC_KEY_LENGTH);
BASE_POINT[0] = 9;

/** A key pair. */
export interface HpkeKeyPair {
  /** Cannot be exported. */
  readonly privateKey: CryptoKey;
  /** The other half. */
  readonly publicKey: CryptoKey;
}

/** One message's secrets: for sealing or opening it, and for deriving another secret. */
export interface HpkeContext {
  /** Seals or opens a message. */
  readonly apply: (text: Uint8Array, additionalData: Uint8Array) => Promise<Uint8Array<ArrayBuffer>>;
  /** A secret of 32 bytes that both sides have. */
  readonly exportSecret: (context: Uint8Array) => Promise<Uint8Array<ArrayBuffer>>;
}

/** A public key of 32 bytes. @throws {RangeError} */
export async function importPublicKey(raw: Uint8Array): Promise<CryptoKey> {
  if (raw.length !== PUBLIC_KEY_LENGTH) {
    throw new RangeError(`Cannot use a public key of ${raw.length} bytes: X25519 has ${PUBLIC_KEY_LENGTH}`);
  }
  return await crypto.subtle.importKey("raw", new Uint8Array(raw), X25519, true, []);
}

/** The 32 bytes of a public key. */
export async function exportPublicKey(key: CryptoKey): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", key));
}

/**
 * A key pair from its private key, for a client that the service knows.
 *
 * @param pkcs8 DER, as `openssl genpkey -algorithm X25519 -outform DER` writes it; the caller wipes it
 * @throws {RangeError | DOMException} when it is no X25519 key.
 */
export async function importKeyPair(pkcs8: Uint8Array): Promise<HpkeKeyPair> {
  const length = PKCS8_HEAD.length + PRIVATE_KEY_LENGTH;
  if (pkcs8.length !== length) {
    throw new RangeError(
      `Cannot use a private key of ${pkcs8.length} bytes: X25519 has ${length} in PKCS #8`,
    );
  }
  const der = pkcs8 as Uint8Array<ArrayBuffer>;
  const privateKey = await crypto.subtle.importKey("pkcs8", der, X25519, false, ["deriveBits"]);
  // The public key is the product with the base point: RFC 7748, section 6.1.
  const basePoint = { name: X25519, public: await importPublicKey(BASE_POINT) };
  const publicKey = await crypto.subtle.deriveBits(basePoint, privateKey, 8 * PUBLIC_KEY_LENGTH);
  return { privateKey, publicKey: await importPublicKey(new Uint8Array(publicKey)) };
}

/**
 * A key pair from the bytes of its private key.
 *
 * @param secret any {@link PRIVATE_KEY_LENGTH} bytes are a key of X25519; the caller wipes them
 * @throws {RangeError} on another length.
 */
export async function keyPairOf(secret: Uint8Array): Promise<HpkeKeyPair> {
  const pkcs8 = concat([PKCS8_HEAD, secret]);
  try {
    return await importKeyPair(pkcs8);
  } finally {
    pkcs8.fill(0);
  }
}

/**
 * The recipient's side.
 *
 * @param options.enc the encapsulated key, 32 bytes
 * @param options.senderPublicKey for auth mode: only messages sealed with this key's private key open
 * @throws {Error} on an invalid key, including low-order points.
 */
export async function setupRecipient(
  keys: HpkeKeyPair,
  { info, enc, senderPublicKey }: {
    readonly info: Uint8Array;
    readonly enc: Uint8Array;
    readonly senderPublicKey?: CryptoKey | undefined;
  },
): Promise<HpkeContext> {
  const sender = senderPublicKey === undefined ? {} : { senderPublicKey };
  const context = await SUITE.createRecipientContext({ recipientKey: keys, enc, info, ...sender });
  return {
    apply: async (text, additionalData) => new Uint8Array(await context.open(text, additionalData)),
    exportSecret: async (label) => new Uint8Array(await context.export(label, 32)),
  };
}
