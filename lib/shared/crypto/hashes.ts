/**
 * The hashes of receipts as a port: AWS-LC's where the SDK's library exports them (`ffi/aead.ts`), or `node:crypto`'s (this module).
 *
 * @module
 */
import { createHash, hkdfSync } from "node:crypto";

type Bytes = Uint8Array<ArrayBuffer>;

/** SHA-384, and HKDF with it. */
export interface Hashes {
  /** 48 bytes. */
  sha384(bytes: Bytes): Bytes;
  /** HKDF-SHA-384 without a salt. @param secret borrowed */
  hkdf(secret: Bytes, info: Bytes, length: number): Bytes;
}

/** Deno's own. */
export const NODE_HASHES: Hashes = {
  sha384: (bytes) => new Uint8Array(createHash("sha384").update(bytes).digest()),
  hkdf: (secret, info, length) => new Uint8Array(hkdfSync("sha384", secret, new Uint8Array(0), info, length)),
};
