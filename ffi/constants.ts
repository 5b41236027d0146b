/**
 * Numbers and names of the SDK's headers that the binding depends on, each pinned by a test.
 *
 * @module
 */

/** CID of the parent instance as `aws_socket_endpoint.address` wants it: a decimal string. */
export const AWS_NE_VSOCK_PROXY_ADDR = "3";

/** Port on which the parent runs `vsock-proxy`. */
export const AWS_NE_VSOCK_PROXY_PORT = 8000;

/** `enum aws_socket_domain`, `AWS_SOCKET_VSOCK` (aws-c-io, socket.h). */
export const AWS_SOCKET_VSOCK_DOMAIN = 3;

/** Size of `aws_socket_endpoint.address` (aws-c-io, socket.h). */
export const AWS_ADDRESS_MAX_LEN = 108;

/** `enum aws_key_spec` (aws/nitro_enclaves/kms.h). */
export const AWS_KEY_SPEC = { AES_256: 0, AES_128: 1 } as const;

/** The return value of the SDK's functions on success (aws-c-common, common.h). */
export const AWS_OP_SUCCESS = 0;

/** Names of the shared libraries, in the order in which they are opened: each needs the ones before it. */
export const LIBRARY_FILES = {
  /** Only where the SDK was built as in its own Dockerfile; otherwise it is linked into the SDK's library. */
  nsm: "libnsm.so",
  common: "libaws-c-common.so",
  sdk: "libaws-nitro-enclaves-sdk-c.so",
} as const;
