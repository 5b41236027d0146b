/**
 * AES-256-GCM as a port: a service is given the implementation, either AWS-LC of the SDK's library (`ffi/aead.ts`) or `node:crypto` (this module).
 *
 * @module
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { SecretBytes } from "./secret_bytes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of an AES-256 key. */
export const KEY_LENGTH = 32;
/** Bytes of a nonce. */
export const NONCE_LENGTH = 12;
/** Bytes of a tag. */
export const TAG_LENGTH = 16;

/** A key in the memory of an implementation. Disposing wipes it; every use after that throws TypeError. */
export interface AeadKey extends Disposable {
  /**
   * Encrypts and authenticates.
   *
   * @param out ciphertext ‖ tag: 16 bytes longer than the plaintext; must not overlap it
   */
  seal(out: Bytes, input: AeadInput): void;
  /**
   * Authenticates and decrypts. When the tag does not match, `out` is unchanged or zeroed.
   *
   * @param out the plaintext: 16 bytes shorter than the text; must not overlap it
   * @returns whether the tag matched
   */
  open(out: Bytes, input: AeadInput): boolean;
}

/** What a key is applied to. */
interface AeadInput {
  /** 12 bytes; must not be reused with the same key. */
  readonly nonce: Bytes;
  /** Plaintext when sealing, ciphertext ‖ tag when opening. */
  readonly text: Bytes;
  /** Additional data: authenticated, not encrypted. */
  readonly data: Bytes;
}

/** An implementation of AES-256-GCM. */
export interface Aead {
  /** As `health` names it. */
  readonly name: string;
  /** @param raw 32 bytes, borrowed: the caller wipes them */
  newKey(raw: Bytes): AeadKey;
  /** Of the same library; without them, `node:crypto`'s are used. */
  readonly primitives?: Primitives | undefined;
}

/** What receipts are made with. */
export interface Primitives {
  /** 48 bytes. */
  sha384(bytes: Bytes): Bytes;
  /** HKDF-SHA-384 without a salt. @param secret borrowed */
  hkdf(secret: Bytes, info: Bytes, length: number): Bytes;
  /** An Ed25519 key, RFC 8032. @param seed 32 bytes, borrowed */
  ed25519(seed: Bytes): Ed25519Key;
}

/** Signs. Disposing drops the private key, and wipes it if it is in this program's memory. */
export interface Ed25519Key extends Disposable {
  /** 32 bytes. */
  readonly publicKey: Bytes;
  /** 64 bytes. @throws {TypeError} after it was disposed */
  sign(message: Bytes): Bytes;
}

class NodeKey implements AeadKey {
  #key: SecretBytes;

  constructor(raw: Bytes) {
    this.#key = SecretBytes.copyOf(raw);
  }

  seal(out: Bytes, { nonce, text, data }: AeadInput): void {
    const cipher = createCipheriv("aes-256-gcm", this.#key.expose(), nonce);
    if (data.length > 0) cipher.setAAD(data);
    out.set(cipher.update(text));
    cipher.final();
    out.set(cipher.getAuthTag(), text.length);
  }

  open(out: Bytes, { nonce, text, data }: AeadInput): boolean {
    const tagAt = text.length - TAG_LENGTH;
    const decipher = createDecipheriv("aes-256-gcm", this.#key.expose(), nonce);
    if (data.length > 0) decipher.setAAD(data);
    decipher.setAuthTag(text.subarray(tagAt));
    const plaintext = decipher.update(text.subarray(0, tagAt));
    try {
      decipher.final();
      out.set(plaintext);
      return true;
    } catch {
      return false;
    } finally {
      // Neither unauthenticated plaintext nor a second copy may outlive the call.
      plaintext.fill(0);
    }
  }

  [Symbol.dispose](): void {
    this.#key[Symbol.dispose]();
  }
}

/** Deno's own implementation: for development, and where the SDK's library does not export AES-256-GCM. */
export const NODE_AEAD: Aead = {
  name: "node:crypto",
  newKey: (raw) => new NodeKey(raw),
};
