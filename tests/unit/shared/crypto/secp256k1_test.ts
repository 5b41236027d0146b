/** Signatures on secp256k1: BIP-340's vectors, and what a verifier must not accept. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import {
  isSecretKey,
  publicKeyOf,
  signDigest,
  signSchnorr,
} from "../../../../lib/shared/crypto/secp256k1.ts";
import { verifyDigest, verifySchnorr } from "../../../../lib/shared/crypto/secp256k1_verify.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { SIGNING } from "../../../fixtures/bip340.ts";
import { newSecretKey } from "../../../helpers/new_secret_key.ts";

const ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const FIELD_SIZE = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
const ZERO = "00".repeat(32);

for (const [index, secretKey, publicKey, auxiliary, message, signature] of SIGNING) {
  Deno.test(`BIP-340 vector ${index}: signed to the very bytes, and verified`, () => {
    using key = new SecretBytes(decodeHex(secretKey));
    assertEquals(
      encodeHex(signSchnorr(key, decodeHex(message), decodeHex(auxiliary))),
      signature.toLowerCase(),
    );
    assertEquals(encodeHex(publicKeyOf(key, "compressed").subarray(1)), publicKey.toLowerCase());
    assert(verifySchnorr(decodeHex(publicKey), decodeHex(message), decodeHex(signature)));
  });
}

const [, , PUBLIC_KEY = "", , MESSAGE = "", SIGNATURE = ""] = SIGNING[1] ?? [];
const [R, S] = [SIGNATURE.slice(0, 64), SIGNATURE.slice(64)];
const negated = (ORDER_MINUS: string) =>
  (BigInt(`0x${ORDER}`) - BigInt(`0x${ORDER_MINUS}`)).toString(16).padStart(64, "0");

const BAD_SCHNORR: readonly (readonly [string, string, string, string])[] = [
  [
    "a public key that is not on the curve",
    "EEFDEA4CDB677750A420FEE807EACF21EB9898AE79B9768766E4FAA04A2D4A34",
    MESSAGE,
    SIGNATURE,
  ],
  [
    "a public key beyond the field's size",
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC30",
    MESSAGE,
    SIGNATURE,
  ],
  ["another message", PUBLIC_KEY, ZERO, SIGNATURE],
  ["a negated s", PUBLIC_KEY, MESSAGE, R + negated(S)],
  ["an r of the field's size", PUBLIC_KEY, MESSAGE, FIELD_SIZE + S],
  ["an s of the order", PUBLIC_KEY, MESSAGE, R + ORDER],
  ["an r of zero", PUBLIC_KEY, MESSAGE, ZERO + S],
  ["an s of zero", PUBLIC_KEY, MESSAGE, R + ZERO],
  ["63 bytes", PUBLIC_KEY, MESSAGE, SIGNATURE.slice(2)],
  ["65 bytes", PUBLIC_KEY, MESSAGE, `${SIGNATURE}00`],
  ["a public key of 31 bytes", PUBLIC_KEY.slice(2), MESSAGE, SIGNATURE],
];

for (const [what, publicKey, message, signature] of BAD_SCHNORR) {
  Deno.test(`a Schnorr signature is not accepted: ${what}`, () => {
    assertEquals(verifySchnorr(decodeHex(publicKey), decodeHex(message), decodeHex(signature)), false);
  });
}

Deno.test("an ECDSA signature verifies by the compressed key and by the other form", () => {
  using key = newSecretKey();
  const digest = new Uint8Array(32).fill(9);
  const { r, s } = signDigest(key, digest);
  for (const form of ["compressed", "uncompressed"] as const) {
    assert(verifyDigest(publicKeyOf(key, form), digest, decodeHex(encodeHex(r) + encodeHex(s))));
  }
});

{
  const key = newSecretKey();
  const digest = new Uint8Array(32).fill(9);
  const signed = signDigest(key, digest);
  const publicKey = encodeHex(publicKeyOf(key, "compressed"));
  const [r, s] = [encodeHex(signed.r), encodeHex(signed.s)];
  const BAD_ECDSA: readonly (readonly [string, string, Uint8Array, string])[] = [
    ["a high s", publicKey, digest, r + negated(s)],
    ["an r of zero", publicKey, digest, ZERO + s],
    ["an s of zero", publicKey, digest, r + ZERO],
    ["both zero", publicKey, digest, ZERO + ZERO],
    ["an r of the order", publicKey, digest, ORDER + s],
    ["an s of the order", publicKey, digest, r + ORDER],
    ["an r beyond the field", publicKey, digest, FIELD_SIZE + s],
    ["all ones", publicKey, digest, "ff".repeat(64)],
    ["r and s swapped", publicKey, digest, s + r],
    ["another digest", publicKey, new Uint8Array(32), r + s],
    ["63 bytes", publicKey, digest, (r + s).slice(2)],
    ["65 bytes", publicKey, digest, `${r}${s}00`],
    ["nothing", publicKey, digest, ""],
    ["DER", publicKey, digest, `30440220${r}0220${s}`],
    ["another key", encodeHex(publicKeyOf(newSecretKey(), "compressed")), digest, r + s],
    ["the point at infinity", "00", digest, r + s],
    ["a key that is not on the curve", `02${"ff".repeat(32)}`, digest, r + s],
    ["a key of an unknown form", `05${publicKey.slice(2)}`, digest, r + s],
  ];
  for (const [what, by, over, signature] of BAD_ECDSA) {
    Deno.test(`an ECDSA signature is not accepted: ${what}`, () => {
      assertEquals(verifyDigest(decodeHex(by), over, decodeHex(signature)), false);
    });
  }
}

for (const length of [0, 31, 33, 64]) {
  Deno.test(`a digest of ${length} bytes is not signed`, () => {
    using key = newSecretKey();
    assertThrows(() => signDigest(key, new Uint8Array(length)), RangeError, "32");
    assertThrows(() => signSchnorr(key, new Uint8Array(length), new Uint8Array(32)), RangeError, "32");
  });
}

for (
  const [what, scalar, valid] of [["zero", ZERO, false], ["one", `${ZERO.slice(2)}01`, true], [
    "the order",
    ORDER,
    false,
  ]] as const
) {
  Deno.test(`a secret key of ${what} is ${valid ? "" : "not "}one`, () =>
    assertEquals(isSecretKey(decodeHex(scalar)), valid));
}
