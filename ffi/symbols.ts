/**
 * The SDK's functions, one table a shared library, and AWS-LC's, in the form that `Deno.dlopen` takes. Each
 * C type has a name, which also says who owns the memory: *borrowed* for the call, *kept* after it,
 * *consumed* by it, *owned* by the caller of it, *out* written by it.
 *
 * A pointer is declared `usize`, so that it is a bigint here, which can be put into a struct and read from one without
 * a `Deno.Unsafe*` call.
 *
 * @module
 */
import { AWS_BYTE_BUF_STRUCT, AWS_BYTE_CURSOR_STRUCT as CURSOR } from "./layout.ts";

/** Numbers. */
const SIZE = "usize"; // size_t
const LENGTH_OUT = "buffer"; // size_t *: out
const ERROR = "i32"; // int: AWS_OP_SUCCESS, or another code

/** Of a function that not every build exports. */
const OPTIONAL = { result: ERROR, optional: true } as const;

/** Memory of ours. */
const BYTES_IN = "buffer"; // const uint8_t * or const void *: borrowed
const BYTES_OUT = "buffer"; // void *: out
const BUF_IN = "buffer"; // const struct aws_byte_buf *: borrowed
const BUF_OUT = "buffer"; // struct aws_byte_buf *: out, its memory owned by the caller

/**
 * Objects of the SDK. One that is a result is owned by the caller, one that is a parameter borrowed,
 * unless the comment beside it says otherwise.
 */
const ALLOCATOR = "usize"; // struct aws_allocator *
const STRING = "usize"; // struct aws_string *
const C_STRING = "usize"; // const char *: static
const CONFIG = "usize"; // struct aws_nitro_enclaves_kms_client_configuration *
const CLIENT = "usize"; // struct aws_nitro_enclaves_kms_client *
const REST_CLIENT = "usize"; // struct aws_nitro_enclaves_rest_client *
const RESPONSE = "usize"; // struct aws_nitro_enclaves_rest_response *
const CONNECTION = "usize"; // const struct aws_http_connection *
const KEYPAIR = "usize"; // struct aws_rsa_keypair *

/** libaws-c-common.so: aws/common/{string,byte_buf,error}.h. */
export const COMMON_SYMBOLS = {
  // The bytes are copied.
  aws_string_new_from_array: { parameters: [ALLOCATOR, BYTES_IN, SIZE], result: STRING },
  aws_string_destroy_secure: { parameters: [STRING], result: "void" }, // consumed, zeroed first
  // The bytes are kept in the result, and must not move; it has no allocator.
  aws_byte_buf_from_array: { parameters: [BYTES_IN, SIZE], result: AWS_BYTE_BUF_STRUCT },
  // its memory is consumed, zeroed first
  aws_byte_buf_clean_up_secure: { parameters: [BUF_IN], result: "void" },
  // kept in the result
  aws_byte_cursor_from_c_str: { parameters: [C_STRING], result: CURSOR },
  // struct aws_byte_cursor *cur: advanced; false when fewer bytes are there
  aws_byte_cursor_read: { parameters: ["buffer", BYTES_OUT, SIZE], result: "bool" },
  aws_last_error: { parameters: [], result: ERROR }, // of this thread
  aws_error_name: { parameters: [ERROR], result: C_STRING },
  aws_error_str: { parameters: [ERROR], result: C_STRING },
} as const satisfies Deno.ForeignLibraryInterface;

/**
 * libaws-nitro-enclaves-sdk-c.so: aws/nitro_enclaves/{nitro_enclaves,kms,attestation,rest}.h, internal/cms.h; aws/http/connection.h. The
 * three that open an envelope are optional, since an `internal` header has no stability guarantee, and so are the functions of aws-c-http, which a
 * build need not export.
 */
export const SDK_SYMBOLS = {
  // The allocator is kept; NULL for the default one.
  aws_nitro_enclaves_library_init: { parameters: [ALLOCATOR], result: "void" },
  aws_nitro_enclaves_library_clean_up: { parameters: [], result: "void" },
  // Static. Aborts the process before init.
  aws_nitro_enclaves_get_allocator: { parameters: [], result: ALLOCATOR },
  aws_nitro_enclaves_library_seed_entropy: { parameters: ["u64"], result: ERROR }, // uint64_t bytes
  // region and struct aws_socket_endpoint *endpoint, kept until the client is made; enum aws_socket_domain
  // domain; access_key_id; secret_access_key; session_token, which is never NULL (crash)
  aws_nitro_enclaves_kms_client_config_default: {
    parameters: [STRING, "buffer", "i32", STRING, STRING, STRING],
    result: CONFIG,
  },
  aws_nitro_enclaves_kms_client_config_destroy: { parameters: [CONFIG], result: "void" }, // consumed
  aws_nitro_enclaves_kms_client_new: { parameters: [CONFIG], result: CLIENT },
  aws_nitro_enclaves_kms_client_destroy: { parameters: [CLIENT], result: "void" }, // consumed
  // key_id, NULL for none; encryption_algorithm, NULL only without a key_id; ciphertext; plaintext
  aws_kms_decrypt_blocking: { parameters: [CLIENT, STRING, STRING, BUF_IN, BUF_OUT], result: ERROR },
  // the same, and before plaintext the encryption_context: a JSON object of strings
  aws_kms_decrypt_blocking_with_context: {
    parameters: [CLIENT, STRING, STRING, BUF_IN, STRING, BUF_OUT],
    result: ERROR,
  },
  // key_id; enum aws_key_spec key_spec; plaintext; ciphertext_blob
  aws_kms_generate_data_key_blocking: {
    parameters: [CLIENT, STRING, "i32", BUF_OUT, BUF_OUT],
    result: ERROR,
  },
  // uint32_t number_of_bytes
  aws_kms_generate_random_blocking: { parameters: [CLIENT, "u32", BUF_OUT], result: ERROR },
  aws_attestation_request: { parameters: [ALLOCATOR, KEYPAIR, BUF_OUT], result: ERROR }, // attestation_doc
  // method, path, target and data
  aws_nitro_enclaves_rest_client_request_blocking: {
    parameters: [REST_CLIENT, CURSOR, CURSOR, CURSOR, CURSOR],
    result: RESPONSE,
  },
  aws_nitro_enclaves_rest_response_destroy: { parameters: [RESPONSE], result: "void" }, // consumed
  aws_http_connection_is_open: { parameters: [CONNECTION], result: "bool", optional: true },
  aws_http_connection_new_requests_allowed: { parameters: [CONNECTION], result: "bool", optional: true },
  // in_ber; cipherkey, iv, ciphertext
  aws_cms_parse_enveloped_data: { parameters: [BUF_IN, BUF_OUT, BUF_OUT, BUF_OUT], ...OPTIONAL },
  // ciphertext; plaintext
  aws_attestation_rsa_decrypt: { parameters: [ALLOCATOR, KEYPAIR, BUF_IN, BUF_OUT], ...OPTIONAL },
  // ciphertext, key, iv; plaintext
  aws_cms_cipher_decrypt: { parameters: [BUF_IN, BUF_IN, BUF_IN, BUF_OUT], ...OPTIONAL },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of both. */
export type Symbols =
  & Deno.DynamicLibrary<typeof COMMON_SYMBOLS>["symbols"]
  & Deno.DynamicLibrary<typeof SDK_SYMBOLS>["symbols"];

/** A text of the caller's, and its length. */
const TEXT = [BYTES_IN, SIZE] as const;
const AEAD_CONTEXT = "usize"; // EVP_AEAD_CTX *
/** ctx; out, zeroed when it fails, and no part of `in`; out_len; max_out_len; nonce, in and ad. */
const SEAL_OR_OPEN = [AEAD_CONTEXT, BYTES_OUT, LENGTH_OUT, SIZE, ...TEXT, ...TEXT, ...TEXT] as const;

/** AWS-LC's AES-256-GCM: openssl/aead.h. Optional: not every build of the SDK exports it. */
export const AEAD_SYMBOLS = {
  EVP_aead_aes_256_gcm: { parameters: [], result: "usize", optional: true }, // const EVP_AEAD *: static
  // const EVP_AEAD *aead: static; key, which is copied; size_t tag_len -> owned by the caller; NULL when
  // it fails
  EVP_AEAD_CTX_new: { parameters: ["usize", ...TEXT, SIZE], result: AEAD_CONTEXT, optional: true },
  // consumed, its key cleansed first
  EVP_AEAD_CTX_free: { parameters: [AEAD_CONTEXT], result: "void", optional: true },
  EVP_AEAD_CTX_seal: { parameters: SEAL_OR_OPEN, result: "i32", optional: true }, // 1, or 0 when it fails
  // 1, or 0 when the tag does not match
  EVP_AEAD_CTX_open: { parameters: SEAL_OR_OPEN, result: "i32", optional: true },
} as const satisfies Deno.ForeignLibraryInterface;

/** AWS-LC's SHA-384, HKDF and Ed25519: openssl/{sha,digest,hkdf,curve25519}.h. Optional as well. */
export const PRIMITIVE_SYMBOLS = {
  SHA384: { parameters: [...TEXT, BYTES_OUT], result: "usize", optional: true }, // data; out, which is also the result
  EVP_sha384: { parameters: [], result: "usize", optional: true }, // const EVP_MD *: static
  // out_key; digest; secret, salt and info
  HKDF: { parameters: [BYTES_OUT, SIZE, "usize", ...TEXT, ...TEXT, ...TEXT], ...OPTIONAL },
  // out_public_key; out_private_key; seed
  ED25519_keypair_from_seed: { parameters: [BYTES_OUT, BYTES_OUT, BYTES_IN], result: "void", optional: true },
  // out_sig; message; private_key
  ED25519_sign: { parameters: [BYTES_OUT, ...TEXT, BYTES_IN], result: "i32", optional: true },
} as const satisfies Deno.ForeignLibraryInterface;
