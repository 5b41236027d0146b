/**
 * AES-256-GCM: a blob is nonce (12 bytes, random) ‖ ciphertext ‖ tag (16). NIST SP 800-38D.
 *
 * Two implementations make the same bytes. `node:crypto` answers at once, which is what small messages want; WebCrypto computes on
 * another thread, which is faster on large ones and keeps this one free. `tests/bench` measures where they cross.
 *
 * @module
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { EnclaveError } from "../errors.ts";
import { SecretBytes } from "./secret_bytes.ts";

/** Bytes of an AES-256 key. */
export const KEY_LENGTH = 32;
/** Bytes of a nonce. */
export const NONCE_LENGTH = 12;
/** Bytes of a tag. */
export const TAG_LENGTH = 16;
/** Up to here `node:crypto` is used, beyond it WebCrypto. Bytes. */
export const SMALL_LENGTH = 8 * 1024;

/** Seals under one key after which a warning is due, and after which none is made: random 96-bit nonces, SP 800-38D section 8.3. */
export const SEAL_LIMITS = { warnAt: 2 ** 31, refuseAt: 2 ** 32 } as const;

/** The blob did not open: another key, other additional data, or changed bytes. AES-GCM cannot say which. */
export class OpenError extends EnclaveError {
  constructor(message: string, cause?: unknown) {
    super(message, {
      code: "decrypt_failed",
      hint: "Check that it was sealed under this key, and that no byte of it changed on the way.",
      cause,
    });
  }
}

/** A result that may be there at once. */
export type MaybePromise<T> = T | Promise<T>;

type Bytes = Uint8Array<ArrayBuffer>;
const NO_DATA: Bytes = new Uint8Array(0);

/** An AES-256-GCM key that seals and opens, and counts its seals. `using` it wipes it. */
export class SealingKey implements Disposable {
  #raw: SecretBytes;
  #imported: CryptoKey;
  #seals: number;

  private constructor(raw: SecretBytes, imported: CryptoKey, seals: number) {
    this.#raw = raw;
    this.#imported = imported;
    this.#seals = seals;
  }

  /**
   * Takes a key over.
   *
   * @param seals made under it already
   * @throws {RangeError} unless it has 32 bytes; it is wiped then.
   */
  static async take(key: SecretBytes, seals = 0): Promise<SealingKey> {
    try {
      if (key.length !== KEY_LENGTH) {
        throw new RangeError(`Cannot seal with a key of ${key.length} bytes: AES-256 has ${KEY_LENGTH}`);
      }
      const imported = await crypto.subtle.importKey("raw", key.expose(), "AES-GCM", false, [
        "encrypt",
        "decrypt",
      ]);
      return new SealingKey(key, imported, seals);
    } catch (thrown) {
      key[Symbol.dispose]();
      throw thrown;
    }
  }

  /** Seals made so far. */
  get seals(): number {
    return this.#seals;
  }

  /**
   * Seals under a fresh nonce.
   *
   * @param data additional data that must be the same when it is opened
   * @throws {EnclaveError} `rekey_required` after 2^32 seals.
   */
  seal(plaintext: Uint8Array, data: Bytes = NO_DATA): MaybePromise<Bytes> {
    if (this.#seals >= SEAL_LIMITS.refuseAt) {
      throw new EnclaveError("This key has made as many seals as random nonces allow", {
        code: "rekey_required",
        hint: "Configure a new key.",
      });
    }
    const raw = this.#raw.expose();
    this.#seals++;
    const blob = new Uint8Array(NONCE_LENGTH + plaintext.length + TAG_LENGTH);
    const nonce = crypto.getRandomValues(blob.subarray(0, NONCE_LENGTH));
    if (plaintext.length > SMALL_LENGTH) return this.#sealLarge(blob, nonce, plaintext, data);
    const cipher = createCipheriv("aes-256-gcm", raw, nonce);
    if (data.length > 0) cipher.setAAD(data);
    blob.set(cipher.update(plaintext), NONCE_LENGTH);
    cipher.final();
    blob.set(cipher.getAuthTag(), NONCE_LENGTH + plaintext.length);
    return blob;
  }

  async #sealLarge(blob: Bytes, nonce: Bytes, plaintext: Uint8Array, data: Bytes): Promise<Bytes> {
    const source = plaintext as Bytes;
    const sealed = await crypto.subtle.encrypt(
      { name: "AES-GCM", iv: nonce, additionalData: data },
      this.#imported,
      source,
    );
    blob.set(new Uint8Array(sealed), NONCE_LENGTH);
    return blob;
  }

  /**
   * Opens what {@link seal} made.
   *
   * @throws {OpenError} (or rejects with it) when it does not open.
   */
  open(blob: Bytes, data: Bytes = NO_DATA): MaybePromise<Bytes> {
    if (blob.length < NONCE_LENGTH + TAG_LENGTH) {
      throw new OpenError(
        `Cannot open ${blob.length} bytes: a sealed blob has at least ${
          NONCE_LENGTH + TAG_LENGTH
        } (nonce, ciphertext, tag)`,
      );
    }
    const raw = this.#raw.expose();
    if (blob.length > SMALL_LENGTH) return this.#openLarge(blob, data);
    const tagAt = blob.length - TAG_LENGTH;
    const decipher = createDecipheriv("aes-256-gcm", raw, blob.subarray(0, NONCE_LENGTH));
    if (data.length > 0) decipher.setAAD(data);
    decipher.setAuthTag(blob.subarray(tagAt));
    const plaintext = decipher.update(blob.subarray(NONCE_LENGTH, tagAt));
    try {
      decipher.final();
    } catch (thrown) {
      // Unauthenticated plaintext must not outlive the check.
      plaintext.fill(0);
      throw new OpenError("Cannot open: the tag does not fit", thrown);
    }
    return new Uint8Array(plaintext.buffer as ArrayBuffer, plaintext.byteOffset, plaintext.length);
  }

  async #openLarge(blob: Bytes, data: Bytes): Promise<Bytes> {
    const iv = blob.subarray(0, NONCE_LENGTH);
    try {
      const sealed = blob.subarray(NONCE_LENGTH);
      return new Uint8Array(
        await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: data }, this.#imported, sealed),
      );
    } catch (thrown) {
      throw new OpenError("Cannot open: the tag does not fit", thrown);
    }
  }

  [Symbol.dispose](): void {
    this.#raw[Symbol.dispose]();
  }
}
