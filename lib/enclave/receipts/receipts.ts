/**
 * Receipts: signatures over what was answered, which anybody can verify later. `attest` with the purpose `receipt` gives the document that vouches for
 * their key.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { encode, encodeInto } from "cborg";
import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, hkdfSync, sign } from "node:crypto";
import { receiptUserData } from "../../shared/attestation/statement.ts";
import { concat, discard } from "../../shared/bytes.ts";
import type { Ed25519Key, Primitives } from "../../shared/crypto/aead.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import {
  CLAIM,
  RECEIPT_KEY_LIFE_MS,
  SALT_LENGTH,
  saltInfo,
  SECRET_INFO,
} from "../../shared/receipts/claims.ts";
import { readFields, type Values } from "../../shared/wire/fields.ts";
import { type Reply, WireError } from "../../shared/wire/messages.ts";
import { ATTEST_RECEIPT } from "../../shared/wire/requests.ts";
import { attestKey, requireAttester } from "../server/attestation.ts";
import { drawSecret } from "../server/entropy.ts";
import type { Call, Feature, Ports, Routes } from "../server/feature.ts";
import { RotatedKeys } from "../server/rotated_keys.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** PKCS #8 of an Ed25519 key, before the key's 32 bytes. RFC 8410. */
const PKCS8_HEAD = Uint8Array.fromHex("302e020100300506032b657004220420");
const KEY_LENGTH = 32;
const ID_LENGTH = 16;
/** CBOR: the tag of a COSE_Sign1, and the heads of an array of four items and of a byte string of 64. */
const [TAG, ARRAY_OF_4, SIGNATURE_HEAD] = [Uint8Array.of(0xd2), Uint8Array.of(0x84), Uint8Array.of(0x58, 64)];
/** CBOR: the head of a byte string of 256 to 65,535 bytes, before its length. The claims have 264 to 330. */
const BYTES_HEAD = 0x59;
/** Bytes of a receipt, or of what it signs, at most. */
const MAX_LENGTH = 512;
const NONE = new Uint8Array(0);

/** Deno's own, where the SDK's library does not export them all. */
export const NODE_PRIMITIVES: Primitives = {
  sha384: (bytes) => new Uint8Array(createHash("sha384").update(bytes).digest()),
  hkdf: (secret, info, length) => new Uint8Array(hkdfSync("sha384", secret, NONE, info, length)),
  ed25519: (seed) => {
    using der = new SecretBytes(concat([PKCS8_HEAD, seed]));
    const key = Buffer.from(der.expose().buffer);
    const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
    const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
    return {
      publicKey: new Uint8Array(spki.subarray(-KEY_LENGTH)),
      sign: (message) => new Uint8Array(sign(null, message, privateKey)),
      [Symbol.dispose]: () => {},
    };
  },
};

/** What a receipt is about. */
interface Receipted {
  readonly type: "process" | "master_key.sign";
  /** The client's. */
  readonly nonce: Bytes;
  /** The request's; of a sealed request its ciphertext is signed instead. Read before this returns. */
  readonly blob: Bytes;
  /** What was opened. */
  readonly input: Bytes;
  /** The session key's: the salts come from it, and from what a sealed request exports. None for `master_key.sign`. */
  readonly secret?: SecretBytes;
}

/** A private key, and what comes before the payload in what it signs and in a receipt. RFC 9052, sections 4.2 and 4.4. */
interface Signer {
  readonly key: Ed25519Key;
  readonly signed: Bytes;
  readonly receipt: Bytes;
}

type Outcome = "ok" | "workflow_failed";
/** A receipt that was begun. Disposing wipes its salts. */
export interface BegunReceipt extends Disposable {
  /** Signs the outcome, and gives the receipt in base64. @param result borrowed */
  finish(outcome: Outcome, result: Uint8Array): Promise<string>;
}

/** Makes receipts, and attests to their key. */
export class ReceiptService implements Feature {
  readonly name = "receipts";
  readonly routes: Routes = {
    "attest receipt": { answer: (request) => this.#attest(readFields(request, ATTEST_RECEIPT)) },
  };
  readonly state = {};
  readonly warnings = [];
  #ports: Ports;
  #keys: RotatedKeys<{ readonly publicKey: Bytes }>;
  /** Of the newest pair: the private key of the one before is wiped when this one is made. */
  #signer: Signer | undefined;
  #disposed = false;
  #primitives: Primitives;
  /** Reused for each receipt: it is filled and encoded without an await, and holds no secret. */
  #room = new Uint8Array(MAX_LENGTH);

  constructor(ports: Ports) {
    this.#ports = ports;
    this.#primitives = ports.aead.primitives ?? NODE_PRIMITIVES;
    const life = { lifeMs: RECEIPT_KEY_LIFE_MS, graceMs: RECEIPT_KEY_LIFE_MS };
    this.#keys = new RotatedKeys({ ...ports, ...life, make: () => this.#make() });
  }

  async #make() {
    using seed = await drawSecret(this.#ports, "receipt", KEY_LENGTH);
    if (this.#disposed) throw new WireError("internal_error", "The service is ending: no key is made");
    const key = this.#primitives.ed25519(seed.expose());
    const { publicKey } = key;
    const keyId = createHash("sha256").update(publicKey).digest();
    const header = encode(encode(new Map<number, unknown>([[1, -8], [4, keyId]])));
    const signed = concat([ARRAY_OF_4, encode("Signature1"), header, encode(NONE)]);
    this.#replaceSigner({ key, signed, receipt: concat([TAG, ARRAY_OF_4, header, encode(new Map())]) });
    return { publicKey };
  }

  #replaceSigner(signer?: Signer): void {
    this.#signer?.key[Symbol.dispose]();
    this.#signer = signer;
  }

  async #attest({ nonce, key: id }: Values<typeof ATTEST_RECEIPT>): Promise<Reply> {
    requireAttester(this.#ports);
    const key = id === undefined ? await this.#keys.current() : this.#keys.find(encodeBase64(id));
    if (key === undefined) {
      throw new WireError("receipt_key_unknown", "There is no such receipt key here, or no longer");
    }
    const notAfter = key.expires.getTime();
    const validity = { notBefore: notAfter - RECEIPT_KEY_LIFE_MS, notAfter };
    const userData = receiptUserData(this.#ports.configurationHash, validity);
    return await attestKey(this.#ports, key, { nonce, userData });
  }

  /** What the salts of a session key's receipts are derived from. @returns the caller's to dispose */
  secretOf(key: SecretBytes): SecretBytes {
    return new SecretBytes(this.#primitives.hkdf(key.expose(), SECRET_INFO, SALT_LENGTH));
  }

  /**
   * Begins a receipt: commits to the request and to its input.
   *
   * @throws {WireError} (rejects) `feature_off`
   */
  async begin({ type, nonce, blob, input, secret }: Receipted, { sealed }: Call): Promise<BegunReceipt> {
    if (this.#disposed) {
      throw new WireError("feature_off", "The feature receipts is switched off in this image");
    }
    const { configurationHash, entropy, now } = this.#ports;
    const { sha384, hkdf } = this.#primitives;
    const id = entropy.random.bytes(ID_LENGTH);
    const request = sha384(sealed?.ciphertext ?? blob);
    using exported = new SecretBytes(sealed === undefined ? NONE : await sealed.receiptSecret());
    // Whoever sealed the request knows what is exported, but the blob in it may be another client's.
    using from = new SecretBytes(concat([secret?.expose() ?? NONE, exported.expose()]));
    const salts = from.length === 0
      ? undefined
      : new SecretBytes(hkdf(from.expose(), saltInfo(nonce, id), 2 * SALT_LENGTH));
    const commit = (salt: Bytes = NONE, bytes: Uint8Array) => {
      const salted = concat([salt, bytes]);
      try {
        return sha384(salted);
      } finally {
        discard(salted);
      }
    };
    let inputHash: Bytes;
    try {
      inputHash = commit(salts?.expose().subarray(SALT_LENGTH), input);
    } catch (thrown) {
      salts?.[Symbol.dispose]();
      throw thrown;
    }
    const finish = async (outcome: Outcome, result: Uint8Array): Promise<string> => {
      const resultHash = commit(salts?.expose().subarray(0, SALT_LENGTH), result);
      await this.#keys.current();
      if (this.#signer === undefined) throw new WireError("internal_error", "The service is ending");
      const { key, signed, receipt } = this.#signer;
      const claims = new Map<number, unknown>([
        [CLAIM.issuedAt, Math.floor(now().getTime() / 1000)],
        [CLAIM.id, id],
        [CLAIM.nonce, nonce],
        [CLAIM.type, type],
        [CLAIM.request, request],
        [CLAIM.result, resultHash],
        [CLAIM.input, inputHash],
        [CLAIM.outcome, outcome],
        [CLAIM.configuration, configurationHash],
      ]);
      // First what is signed and then the receipt, around the same payload.
      const room = this.#room;
      const { written } = encodeInto(claims, room.subarray(signed.length + 3));
      const end = signed.length + 3 + written;
      room.set(signed);
      room.set([BYTES_HEAD, written >> 8, written], signed.length);
      const signature = key.sign(room.subarray(0, end));
      room.set(receipt, signed.length - receipt.length);
      room.set(SIGNATURE_HEAD, end);
      room.set(signature, end + SIGNATURE_HEAD.length);
      const length = end + SIGNATURE_HEAD.length + signature.length;
      return encodeBase64(room.subarray(signed.length - receipt.length, length));
    };
    return { finish, [Symbol.dispose]: () => salts?.[Symbol.dispose]() };
  }

  /** Wipes the key. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#replaceSigner();
    this.#keys[Symbol.dispose]();
  }
}
