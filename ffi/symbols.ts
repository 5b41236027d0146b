/**
 * The SDK's functions, one table a shared library, in the form that `Deno.dlopen` takes. The comment beside each parameter gives its
 * C type and who owns the memory: *borrowed* for the call, *kept* after it, *consumed* by it, *out* written by it.
 *
 * A pointer is declared `usize`, so that it is a bigint here, which can be put into a struct and read from one without
 * a `Deno.Unsafe*` call.
 *
 * @module
 */
import { AWS_BYTE_BUF_STRUCT, AWS_BYTE_CURSOR_STRUCT } from "./layout.ts";

/** libaws-c-common.so: aws/common/{string,byte_buf,error}.h. */
export const COMMON_SYMBOLS = {
  aws_string_new_from_array: {
    parameters: [
      "usize", // struct aws_allocator *allocator: borrowed
      "buffer", // const uint8_t *bytes: borrowed, copied
      "usize", // size_t len
    ],
    result: "usize", // struct aws_string *: owned by the caller
  },
  aws_string_destroy_secure: {
    parameters: ["usize"], // struct aws_string *str: consumed, zeroed first
    result: "void",
  },
  aws_byte_buf_from_array: {
    parameters: [
      "buffer", // const void *bytes: kept in the result, must not move
      "usize", // size_t len
    ],
    result: AWS_BYTE_BUF_STRUCT, // struct aws_byte_buf by value, without an allocator
  },
  aws_byte_buf_clean_up_secure: {
    parameters: ["buffer"], // struct aws_byte_buf *buf: its memory is consumed, zeroed first
    result: "void",
  },
  aws_byte_cursor_from_c_str: {
    parameters: ["usize"], // const char *c_str: kept in the result
    result: AWS_BYTE_CURSOR_STRUCT, // struct aws_byte_cursor by value
  },
  aws_byte_cursor_read: {
    parameters: [
      "buffer", // struct aws_byte_cursor *cur: advanced
      "buffer", // void *dest: out
      "usize", // size_t len
    ],
    result: "bool", // false when fewer bytes are there
  },
  aws_last_error: { parameters: [], result: "i32" }, // of this thread
  aws_error_name: { parameters: ["i32"], result: "usize" }, // int err -> const char *: static
  aws_error_str: { parameters: ["i32"], result: "usize" }, // int err -> const char *: static
} as const satisfies Deno.ForeignLibraryInterface;

/**
 * libaws-nitro-enclaves-sdk-c.so: aws/nitro_enclaves/{nitro_enclaves,kms,attestation,rest}.h, internal/cms.h; aws/http/connection.h. The
 * three that open an envelope are optional, since an `internal` header has no stability guarantee, and so are the functions of aws-c-http, which a
 * build need not export.
 */
export const SDK_SYMBOLS = {
  aws_nitro_enclaves_library_init: {
    parameters: ["usize"], // struct aws_allocator *allocator: kept, NULL for the default one
    result: "void",
  },
  aws_nitro_enclaves_library_clean_up: { parameters: [], result: "void" },
  aws_nitro_enclaves_get_allocator: { parameters: [], result: "usize" }, // aborts the process before init
  aws_nitro_enclaves_library_seed_entropy: { parameters: ["u64"], result: "i32" }, // uint64_t bytes
  aws_nitro_enclaves_kms_client_config_default: {
    parameters: [
      "usize", // struct aws_string *region: kept until the client is made
      "buffer", // struct aws_socket_endpoint *endpoint: kept until the client is made
      "i32", // enum aws_socket_domain domain
      "usize", // struct aws_string *access_key_id: borrowed
      "usize", // struct aws_string *secret_access_key: borrowed
      "usize", // struct aws_string *session_token: borrowed, never NULL (crash)
    ],
    result: "usize", // struct aws_nitro_enclaves_kms_client_configuration *: owned by the caller
  },
  aws_nitro_enclaves_kms_client_config_destroy: {
    parameters: ["usize"], // struct aws_nitro_enclaves_kms_client_configuration *: consumed
    result: "void",
  },
  aws_nitro_enclaves_kms_client_new: {
    parameters: ["usize"], // struct aws_nitro_enclaves_kms_client_configuration *: borrowed
    result: "usize", // struct aws_nitro_enclaves_kms_client *: owned by the caller
  },
  aws_nitro_enclaves_kms_client_destroy: {
    parameters: ["usize"], // struct aws_nitro_enclaves_kms_client *: consumed
    result: "void",
  },
  aws_kms_decrypt_blocking: {
    parameters: [
      "usize", // struct aws_nitro_enclaves_kms_client *client: borrowed
      "usize", // const struct aws_string *key_id: borrowed, may be NULL
      "usize", // const struct aws_string *encryption_algorithm: borrowed, NULL only with a NULL key_id
      "buffer", // const struct aws_byte_buf *ciphertext: borrowed
      "buffer", // struct aws_byte_buf *plaintext: out, its memory owned by the caller
    ],
    result: "i32",
  },
  aws_kms_decrypt_blocking_with_context: {
    parameters: [
      "usize", // struct aws_nitro_enclaves_kms_client *client: borrowed
      "usize", // const struct aws_string *key_id: borrowed, may be NULL
      "usize", // const struct aws_string *encryption_algorithm: borrowed
      "buffer", // const struct aws_byte_buf *ciphertext: borrowed
      "usize", // const struct aws_string *encryption_context: borrowed, a JSON object of strings
      "buffer", // struct aws_byte_buf *plaintext: out, its memory owned by the caller
    ],
    result: "i32",
  },
  aws_kms_generate_data_key_blocking: {
    parameters: [
      "usize", // struct aws_nitro_enclaves_kms_client *client: borrowed
      "usize", // const struct aws_string *key_id: borrowed
      "i32", // enum aws_key_spec key_spec
      "buffer", // struct aws_byte_buf *plaintext: out, its memory owned by the caller
      "buffer", // struct aws_byte_buf *ciphertext_blob: out, its memory owned by the caller
    ],
    result: "i32",
  },
  aws_kms_generate_random_blocking: {
    parameters: [
      "usize", // struct aws_nitro_enclaves_kms_client *client: borrowed
      "u32", // uint32_t number_of_bytes
      "buffer", // struct aws_byte_buf *plaintext: out, its memory owned by the caller
    ],
    result: "i32",
  },
  aws_attestation_request: {
    parameters: [
      "usize", // struct aws_allocator *allocator: borrowed
      "usize", // struct aws_rsa_keypair *keypair: borrowed
      "buffer", // struct aws_byte_buf *attestation_doc: out, its memory owned by the caller
    ],
    result: "i32",
  },
  aws_nitro_enclaves_rest_client_request_blocking: {
    parameters: [
      "usize", // struct aws_nitro_enclaves_rest_client *rest_client: borrowed
      AWS_BYTE_CURSOR_STRUCT, // struct aws_byte_cursor method: borrowed
      AWS_BYTE_CURSOR_STRUCT, // struct aws_byte_cursor path: borrowed
      AWS_BYTE_CURSOR_STRUCT, // struct aws_byte_cursor target: borrowed
      AWS_BYTE_CURSOR_STRUCT, // struct aws_byte_cursor data: borrowed
    ],
    result: "usize", // struct aws_nitro_enclaves_rest_response *: owned by the caller
  },
  aws_nitro_enclaves_rest_response_destroy: {
    parameters: ["usize"], // struct aws_nitro_enclaves_rest_response *: consumed
    result: "void",
  },
  aws_http_connection_is_open: {
    parameters: ["usize"], // const struct aws_http_connection *: borrowed
    result: "bool",
    optional: true,
  },
  aws_http_connection_new_requests_allowed: {
    parameters: ["usize"], // const struct aws_http_connection *: borrowed
    result: "bool",
    optional: true,
  },
  aws_cms_parse_enveloped_data: {
    parameters: [
      "buffer", // struct aws_byte_buf *in_ber: borrowed
      "buffer", // struct aws_byte_buf *cipherkey: out
      "buffer", // struct aws_byte_buf *iv: out
      "buffer", // struct aws_byte_buf *ciphertext: out
    ],
    result: "i32",
    optional: true,
  },
  aws_attestation_rsa_decrypt: {
    parameters: [
      "usize", // struct aws_allocator *allocator: borrowed
      "usize", // struct aws_rsa_keypair *keypair: borrowed
      "buffer", // struct aws_byte_buf *ciphertext: borrowed
      "buffer", // struct aws_byte_buf *plaintext: out
    ],
    result: "i32",
    optional: true,
  },
  aws_cms_cipher_decrypt: {
    parameters: [
      "buffer", // struct aws_byte_buf *ciphertext: borrowed
      "buffer", // struct aws_byte_buf *key: borrowed
      "buffer", // struct aws_byte_buf *iv: borrowed
      "buffer", // struct aws_byte_buf *plaintext: out
    ],
    result: "i32",
    optional: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of both. */
export type Symbols =
  & Deno.DynamicLibrary<typeof COMMON_SYMBOLS>["symbols"]
  & Deno.DynamicLibrary<typeof SDK_SYMBOLS>["symbols"];
