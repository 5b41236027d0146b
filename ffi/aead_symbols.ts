/**
 * The functions of AWS-LC for AES-256-GCM (openssl/aead.h), in the form of `symbols.ts`.
 *
 * @module
 */

/** Parameters of `EVP_AEAD_CTX_seal` and `_open`. */
const SEAL_OR_OPEN = [
  "usize", // const EVP_AEAD_CTX *ctx: borrowed
  "buffer", // uint8_t *out: out, zeroed when it fails; no part of `in`
  "buffer", // size_t *out_len: out
  "usize", // size_t max_out_len
  "buffer", // const uint8_t *nonce: borrowed
  "usize", // size_t nonce_len
  "buffer", // const uint8_t *in: borrowed
  "usize", // size_t in_len
  "buffer", // const uint8_t *ad: borrowed
  "usize", // size_t ad_len
] as const;

/** openssl/aead.h. Optional: not every build of the SDK exports them. */
export const AEAD_SYMBOLS = {
  EVP_aead_aes_256_gcm: { parameters: [], result: "usize", optional: true }, // const EVP_AEAD *: static
  EVP_AEAD_CTX_new: {
    parameters: [
      "usize", // const EVP_AEAD *aead: static
      "buffer", // const uint8_t *key: borrowed, copied
      "usize", // size_t key_len
      "usize", // size_t tag_len
    ],
    result: "usize", // EVP_AEAD_CTX *: owned by the caller; NULL when it fails
    optional: true,
  },
  EVP_AEAD_CTX_free: {
    parameters: ["usize"], // EVP_AEAD_CTX *ctx: consumed, its key cleansed first; NULL does nothing
    result: "void",
    optional: true,
  },
  EVP_AEAD_CTX_seal: { parameters: SEAL_OR_OPEN, result: "i32", optional: true }, // 1, or 0 when it fails
  EVP_AEAD_CTX_open: { parameters: SEAL_OR_OPEN, result: "i32", optional: true }, // 1, or 0 when the tag does not match
} as const satisfies Deno.ForeignLibraryInterface;
