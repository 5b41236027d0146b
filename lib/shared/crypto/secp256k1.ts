/**
 * Keys and signatures on secp256k1 (SEC 2), by noble: ECDSA with low s and a deterministic nonce (RFC 6979), BIP-340 Schnorr.
 *
 * A secret key becomes a bigint inside noble, which cannot be wiped; only the bytes are wiped here.
 *
 * @module
 */
import { mapHashToField } from "@noble/curves/abstract/modular.js";
import { schnorr, secp256k1 } from "@noble/curves/secp256k1.js";
import { SecretBytes } from "./secret_bytes.ts";

/** Bytes of a secret key, of a digest, and of each half of a signature. */
export const SCALAR_LENGTH = 32;

/** Bytes from which a secret key is made without bias (FIPS 186-5, A.2.1). */
export const SEED_LENGTH = 48;

/**
 * The secret key of a seed, uniform in 1..n-1.
 *
 * @param seed {@link SEED_LENGTH} random bytes; borrowed
 * @returns the caller's to dispose
 * @throws {RangeError} on another length.
 */
export function secretKeyOf(seed: SecretBytes): SecretBytes {
  if (seed.length !== SEED_LENGTH) {
    throw new RangeError(`Cannot make a key of ${seed.length} bytes: a seed has ${SEED_LENGTH}`);
  }
  return new SecretBytes(mapHashToField(seed.expose(), secp256k1.Point.Fn.ORDER) as Uint8Array<ArrayBuffer>);
}

/** Whether the bytes are a scalar in 1..n-1. */
export function isSecretKey(bytes: Uint8Array): boolean {
  return secp256k1.utils.isValidSecretKey(bytes);
}

/** Whether r and s are scalars in 1..n-1, and s is in the lower half (EIP-2). */
export function isLowSignature(r: bigint, s: bigint): boolean {
  const order = secp256k1.Point.Fn.ORDER;
  return r > 0n && r < order && s > 0n && s <= order / 2n;
}

/**
 * The public key that belongs to a secret key.
 *
 * @returns 33 bytes compressed, or 65 with the prefix 0x04 (SEC 1, section 2.3.3)
 */
export function publicKeyOf(
  secretKey: SecretBytes,
  form: "compressed" | "uncompressed",
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(secp256k1.getPublicKey(secretKey.expose(), form === "compressed"));
}

/**
 * ECDSA over a given digest.
 *
 * @param digest 32 bytes
 * @returns r and s, 32 bytes each, big-endian, s in the lower half of the group's order; and the parity of
 * the nonce point's y, for recovering the public key
 * @throws {RangeError} on another length.
 */
export function signDigest(secretKey: SecretBytes, digest: Uint8Array) {
  checkDigest(digest);
  const options = { prehash: false, lowS: true, format: "recovered" } as const;
  const bytes = secp256k1.sign(digest, secretKey.expose(), options);
  // Recovery ids 2 and 3 need an r above the group's order, which is practically impossible.
  if (bytes[0] !== 0 && bytes[0] !== 1) throw new RangeError("Cannot sign: the nonce point is out of range");
  return {
    yParity: bytes[0],
    r: new Uint8Array(bytes.subarray(1, 1 + SCALAR_LENGTH)),
    s: new Uint8Array(bytes.subarray(1 + SCALAR_LENGTH)),
  };
}

/**
 * BIP-340 Schnorr over a digest.
 *
 * @param digest 32 bytes
 * @param auxiliary 32 fresh random bytes
 * @returns 64 bytes
 * @throws {RangeError} on another length.
 */
export function signSchnorr(
  secretKey: SecretBytes,
  digest: Uint8Array,
  auxiliary: Uint8Array,
): Uint8Array<ArrayBuffer> {
  checkDigest(digest);
  return new Uint8Array(schnorr.sign(digest, secretKey.expose(), auxiliary));
}

function checkDigest(digest: Uint8Array): void {
  if (digest.length === SCALAR_LENGTH) return;
  throw new RangeError(`Cannot sign a digest of ${digest.length} bytes: it must have ${SCALAR_LENGTH}`);
}
