/**
 * AES-256-GCM: a blob is nonce (12 bytes, random) ‖ ciphertext ‖ tag (16). NIST SP 800-38D. The implementation is a port (`aead.ts`).
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";
import { type Aead, type AeadKey, KEY_LENGTH, NODE_AEAD, NONCE_LENGTH, TAG_LENGTH } from "./aead.ts";
import type { FillRandom } from "./random.ts";
import type { SecretBytes } from "./secret_bytes.ts";

export { KEY_LENGTH, NONCE_LENGTH, TAG_LENGTH };

/** The number of seals under one key that causes a warning, and the maximum: random 96-bit nonces, SP 800-38D section 8.3. */
export const SEAL_LIMITS = { warnAt: 2 ** 31, refuseAt: 2 ** 32 } as const;

/** The blob did not open: another key, other additional data, or changed bytes. AES-GCM cannot say which. */
export class OpenError extends EnclaveError {
  override name = "OpenError";
  constructor(message: string) {
    const hint = "Check that it was sealed under this key, and that no byte of it changed on the way.";
    super(message, { code: "decrypt_failed", hint });
  }
}

type Bytes = Uint8Array<ArrayBuffer>;
const NO_DATA: Bytes = new Uint8Array(0);

/** Options of a {@link SealingKey}. */
interface SealingKeyOptions {
  /** Makes the nonces. */
  readonly random: FillRandom;
  /** The implementation; `node:crypto` by default. */
  readonly aead?: Aead | undefined;
  /** Seals already made under the key. */
  readonly seals?: number;
}

/** An AES-256-GCM key that seals and opens, and counts its seals. Disposing wipes it. */
export class SealingKey implements Disposable {
  #key: AeadKey;
  #random: FillRandom;
  #seals: number;

  /**
   * Takes ownership of a key: the implementation keeps it, and the given bytes are always wiped.
   *
   * @throws {RangeError} unless it has 32 bytes.
   */
  constructor(key: SecretBytes, { random, aead = NODE_AEAD, seals = 0 }: SealingKeyOptions) {
    using raw = key;
    if (raw.length !== KEY_LENGTH) {
      throw new RangeError(`Cannot seal with a key of ${raw.length} bytes: AES-256 has ${KEY_LENGTH}`);
    }
    this.#key = aead.newKey(raw.expose());
    this.#random = random;
    this.#seals = seals;
  }

  /** Seals made so far. */
  get seals(): number {
    return this.#seals;
  }

  /**
   * Seals under a fresh nonce.
   *
   * @param data additional data, which must be the same when opening
   * @throws {EnclaveError} `rekey_required` after 2^32 seals.
   * @throws {TypeError} after it was wiped.
   */
  seal(plaintext: Uint8Array, data: Bytes = NO_DATA): Bytes {
    if (this.#seals >= SEAL_LIMITS.refuseAt) {
      const about = { code: "rekey_required", hint: "Configure a new key." };
      throw new EnclaveError("This key has made as many seals as random nonces allow", about);
    }
    const blob = new Uint8Array(NONCE_LENGTH + plaintext.length + TAG_LENGTH);
    const nonce = blob.subarray(0, NONCE_LENGTH);
    this.#random(nonce);
    this.#key.seal(blob.subarray(NONCE_LENGTH), { nonce, text: plaintext as Bytes, data });
    this.#seals++;
    return blob;
  }

  /**
   * Opens a blob that {@link seal} made.
   *
   * @param headroom bytes that the result's buffer has before it
   * @throws {OpenError} when it does not open.
   * @throws {TypeError} after it was wiped.
   */
  open(blob: Bytes, data: Bytes = NO_DATA, headroom = 0): Bytes {
    const least = NONCE_LENGTH + TAG_LENGTH;
    if (blob.length < least) {
      const why = `a sealed blob has at least ${least} (nonce, ciphertext, tag)`;
      throw new OpenError(`Cannot open ${blob.length} bytes: ${why}`);
    }
    const plaintext = new Uint8Array(headroom + blob.length - least).subarray(headroom);
    const nonce = blob.subarray(0, NONCE_LENGTH);
    if (!this.#key.open(plaintext, { nonce, text: blob.subarray(NONCE_LENGTH), data })) {
      throw new OpenError("Cannot open: the tag does not match");
    }
    return plaintext;
  }

  /** Wipes the key. */
  [Symbol.dispose](): void {
    this.#key[Symbol.dispose]();
  }
}
