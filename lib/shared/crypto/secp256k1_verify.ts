/**
 * Verifies signatures on secp256k1. For clients: the enclave only signs.
 *
 * @module
 */
import { schnorr, secp256k1 } from "@noble/curves/secp256k1.js";
import { SCALAR_LENGTH } from "./secp256k1.ts";

/**
 * Whether an ECDSA signature, r ‖ s with s in the lower half, is valid for this digest and key. Malformed input is invalid.
 *
 * @param publicKey compressed or uncompressed
 */
export function verifyDigest(publicKey: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
  try {
    return secp256k1.verify(signature, digest, publicKey, { prehash: false, lowS: true, format: "compact" });
  } catch {
    // noble throws on malformed points and signatures.
    return false;
  }
}

/**
 * Whether a BIP-340 signature is valid for this message and key. Malformed input is invalid.
 *
 * @param publicKey compressed (33 bytes), or only its x coordinate (32 bytes)
 */
export function verifySchnorr(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return schnorr.verify(
      signature,
      message,
      publicKey.length === SCALAR_LENGTH ? publicKey : publicKey.subarray(1),
    );
  } catch {
    return false;
  }
}
