/**
 * The C structs that cross the boundary, as bytes: sizes, offsets, and functions that write and read them.
 * x86-64 and aarch64 Linux agree on all of these (LP64, little-endian); `tests/contract/layout_test.ts` compares
 * them with a compiled probe.
 *
 * A struct whose address the SDK keeps must be in memory that does not move: `stableBytes` allocates such memory.
 *
 * @module
 */
import { AWS_ADDRESS_MAX_LEN, AWS_NE_VSOCK_PROXY_ADDR } from "./constants.ts";

/** `struct aws_byte_buf` (aws-c-common, byte_buf.h). */
export const AWS_BYTE_BUF = {
  size: 32,
  len: 0, // size_t
  buffer: 8, // uint8_t *
  capacity: 16, // size_t
  allocator: 24, // struct aws_allocator *, NULL for borrowed memory
} as const;

/** `struct aws_byte_cursor` (aws-c-common, byte_buf.h): the first half of an `aws_byte_buf`. */
export const AWS_BYTE_CURSOR = {
  size: 16,
  len: 0, // size_t
  ptr: 8, // uint8_t *
} as const;

/**
 * `struct aws_socket_endpoint` (aws-c-io, socket.h). `port` is 16 bits at the aws-c-io that SDK 0.4 pins (110 bytes
 * in all) and 32 from aws-c-io 0.14 on (112 bytes): zeroed 112 bytes with a port below 65,536 are right for both.
 */
export const AWS_SOCKET_ENDPOINT = {
  size: 112,
  address: 0, // char[108]
  port: AWS_ADDRESS_MAX_LEN, // uint16_t or uint32_t
} as const;

/** `struct aws_nitro_enclaves_kms_client` (aws/nitro_enclaves/kms.h). */
export const KMS_CLIENT = {
  size: 24,
  allocator: 0, // struct aws_allocator *
  restClient: 8, // struct aws_nitro_enclaves_rest_client *
  keypair: 16, // struct aws_rsa_keypair *
} as const;

/** `struct aws_rsa_keypair` (aws/nitro_enclaves/attestation.h). */
export const RSA_KEYPAIR = {
  size: 16,
  allocator: 0, // struct aws_allocator *
  keyImpl: 8, // void *: an EVP_PKEY
} as const;

/** `struct aws_string` (aws-c-common, string.h). */
export const AWS_STRING = {
  headSize: 16,
  allocator: 0, // struct aws_allocator *, NULL for a static string
  len: 8, // size_t
  bytes: 16, // uint8_t[]
} as const;

/** Where `struct aws_mutex` of the rest client ends: glibc's `pthread_mutex_t` has 40 bytes on x86-64 and 48 on aarch64. */
const AFTER_MUTEX = 16 + { x86_64: 40, aarch64: 48 }[Deno.build.arch];

/**
 * `struct aws_nitro_enclaves_rest_client` (aws/nitro_enclaves/rest.h), up to and with `region`. Internal to the SDK: `SdkLibrary.internalsOf`
 * checks every one of these on each client before anything is used. `pthread_cond_t` has 48 bytes.
 */
export const REST_CLIENT = {
  size: AFTER_MUTEX + 88,
  allocator: 0, // struct aws_allocator *
  tlsContext: 8, // struct aws_tls_ctx *
  mutexInitialized: AFTER_MUTEX, // bool, the last member of the aws_mutex
  conditionInitialized: AFTER_MUTEX + 56, // bool, the last member of the aws_condition_variable
  connection: AFTER_MUTEX + 64, // struct aws_http_connection *
  service: AFTER_MUTEX + 72, // struct aws_string *: "kms"
  region: AFTER_MUTEX + 80, // struct aws_string *
} as const;

/** `struct aws_nitro_enclaves_rest_response` (aws/nitro_enclaves/rest.h). */
export const REST_RESPONSE = {
  size: 64,
  allocator: 0, // struct aws_allocator *
  message: 8, // struct aws_http_message *
  cursor: 16, // struct aws_byte_cursor
  data: 32, // struct aws_byte_buf: the body
} as const;

/** For by-value parameters and results of `Deno.dlopen`. */
export const AWS_BYTE_BUF_STRUCT = { struct: ["usize", "usize", "usize", "usize"] } as const;
/** For by-value parameters and results of `Deno.dlopen`. */
export const AWS_BYTE_CURSOR_STRUCT = { struct: ["usize", "usize"] } as const;

/** Zeroed memory outside V8's heap: its address stays the same as long as the array lives. */
export function stableBytes(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(length));
}

function view(struct: Uint8Array): DataView {
  return new DataView(struct.buffer, struct.byteOffset, struct.byteLength);
}

/** Reads a `size_t` or a pointer. */
export function readWord(struct: Uint8Array, offset: number): bigint {
  return view(struct).getBigUint64(offset, true);
}

/** Writes a `size_t` or a pointer. */
export function writeWord(struct: Uint8Array, offset: number, value: bigint): void {
  view(struct).setBigUint64(offset, value, true);
}

/** An `aws_byte_cursor` over memory at an address. */
export function byteCursor(address: bigint, length: number): Uint8Array<ArrayBuffer> {
  const cursor = stableBytes(AWS_BYTE_CURSOR.size);
  writeWord(cursor, AWS_BYTE_CURSOR.len, BigInt(length));
  writeWord(cursor, AWS_BYTE_CURSOR.ptr, address);
  return cursor;
}

/**
 * An `aws_socket_endpoint` of the parent.
 *
 * @param port 1 to 65535
 * @throws {RangeError} when it is out of range.
 */
export function socketEndpoint(port: number): Uint8Array<ArrayBuffer> {
  if (!Number.isInteger(port) || port < 1 || port > 0xffff) {
    throw new RangeError(`Cannot use vsock-proxy port ${port}: it must be 1 to 65535`);
  }
  const endpoint = stableBytes(AWS_SOCKET_ENDPOINT.size);
  new TextEncoder().encodeInto(AWS_NE_VSOCK_PROXY_ADDR, endpoint.subarray(AWS_SOCKET_ENDPOINT.address));
  view(endpoint).setUint16(AWS_SOCKET_ENDPOINT.port, port, true);
  return endpoint;
}
