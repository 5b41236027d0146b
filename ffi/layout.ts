/**
 * The C structs that cross the boundary, as bytes: sizes, offsets, and functions that write and read them.
 * x86-64 and aarch64 Linux agree on all of these (LP64, little-endian); `tests/contract/layout_test.ts` compares
 * them with a compiled probe.
 *
 * A struct whose address the SDK keeps must be in memory that does not move: `stableBytes` allocates such memory.
 *
 * @module
 */
import { AWS_ADDRESS_MAX_LEN } from "./constants.ts";

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
  port: 108, // uint16_t or uint32_t
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

/** Offsets inside `struct aws_nitro_enclaves_rest_client` (aws/nitro_enclaves/rest.h). */
export interface RestClientLayout {
  /** Bytes that are read: up to and with `region`. */
  readonly size: number;
  /** struct aws_allocator * */
  readonly allocator: number;
  /** struct aws_tls_ctx * */
  readonly tlsContext: number;
  /** bool, the last member of the `aws_mutex` */
  readonly mutexInitialized: number;
  /** bool, the last member of the `aws_condition_variable` */
  readonly conditionInitialized: number;
  /** struct aws_http_connection * */
  readonly connection: number;
  /** struct aws_string *: "kms" */
  readonly service: number;
  /** struct aws_string * */
  readonly region: number;
}

/**
 * By architecture, since glibc's `pthread_mutex_t` has 40 bytes on x86-64 and 48 on aarch64 (`pthread_cond_t`: 48 on both), each followed by
 * a bool and padding. Internal to the SDK: `NitroSdk.internalsOf` checks every one of these on each client before anything is used.
 */
export const REST_CLIENT_LAYOUTS: Readonly<Record<typeof Deno.build.arch, RestClientLayout>> = {
  x86_64: {
    size: 144,
    allocator: 0,
    tlsContext: 8,
    mutexInitialized: 56,
    conditionInitialized: 112,
    connection: 120,
    service: 128,
    region: 136,
  },
  aarch64: {
    size: 152,
    allocator: 0,
    tlsContext: 8,
    mutexInitialized: 64,
    conditionInitialized: 120,
    connection: 128,
    service: 136,
    region: 144,
  },
};

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
 * An `aws_socket_endpoint`. The SDK reads the address leniently ("notanumber" becomes CID 0), so it is checked here.
 *
 * @param cid decimal context id, 0 to 2^32-1
 * @param port 1 to 65535
 * @throws {RangeError} when either is out of range.
 */
export function socketEndpoint(cid: string, port: number): Uint8Array<ArrayBuffer> {
  if (!/^(0|[1-9][0-9]{0,9})$/.test(cid) || Number(cid) > 0xffff_ffff) {
    throw new RangeError(
      `Cannot use vsock address ${JSON.stringify(cid)}: it must be a CID, 0 to 4294967295`,
    );
  }
  if (!Number.isInteger(port) || port < 1 || port > 0xffff) {
    throw new RangeError(`Cannot use vsock-proxy port ${port}: it must be 1 to 65535`);
  }
  const endpoint = stableBytes(AWS_SOCKET_ENDPOINT.size);
  const address = new TextEncoder().encode(cid);
  if (address.length >= AWS_ADDRESS_MAX_LEN) throw new RangeError("Cannot use vsock address: it is too long");
  endpoint.set(address, AWS_SOCKET_ENDPOINT.address);
  view(endpoint).setUint16(AWS_SOCKET_ENDPOINT.port, port, true);
  return endpoint;
}
