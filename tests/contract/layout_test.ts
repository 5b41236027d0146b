/** Struct layouts and constants, against a C probe. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  AWS_ADDRESS_MAX_LEN,
  AWS_KEY_SPEC,
  AWS_NE_VSOCK_PROXY_ADDR,
  AWS_NE_VSOCK_PROXY_PORT,
  AWS_SOCKET_VSOCK_DOMAIN,
} from "../../ffi/constants.ts";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  AWS_SOCKET_ENDPOINT,
  AWS_STRING,
  KMS_CLIENT,
  REST_CLIENT,
  REST_RESPONSE,
  RSA_KEYPAIR,
  socketEndpoint,
} from "../../ffi/layout.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const probe: unknown = JSON.parse(
  new TextDecoder().decode(new Deno.Command(`${NATIVE_DIR}/layout_probe`).outputSync().stdout),
);

Deno.test("struct layouts are those of a C compiler", () => {
  const { endpoint_u16: narrow, endpoint_u32: wide, ...rest } = probe as Record<
    string,
    Record<string, number>
  >;
  assertEquals(rest, {
    aws_byte_buf: { ...AWS_BYTE_BUF },
    aws_byte_cursor: { ...AWS_BYTE_CURSOR },
    kms_client: {
      size: KMS_CLIENT.size,
      allocator: 0,
      rest_client: KMS_CLIENT.restClient,
      keypair: KMS_CLIENT.keypair,
    },
    rest_response: { ...REST_RESPONSE },
    rest_client: { ...REST_CLIENT },
    rsa_keypair: { ...RSA_KEYPAIR },
    aws_string: { ...AWS_STRING },
    constants: {
      socket_vsock: AWS_SOCKET_VSOCK_DOMAIN,
      aes_256: AWS_KEY_SPEC.AES_256,
      aes_128: AWS_KEY_SPEC.AES_128,
    },
  });
  assertEquals(narrow, { size: 110, address: AWS_SOCKET_ENDPOINT.address, port: AWS_SOCKET_ENDPOINT.port });
  assertEquals(wide, {
    size: AWS_SOCKET_ENDPOINT.size,
    address: AWS_SOCKET_ENDPOINT.address,
    port: AWS_SOCKET_ENDPOINT.port,
  });
});

Deno.test("the vsock constants are those of AWS's own tools", () => {
  assertEquals(
    [AWS_NE_VSOCK_PROXY_ADDR, AWS_NE_VSOCK_PROXY_PORT, AWS_SOCKET_VSOCK_DOMAIN, AWS_ADDRESS_MAX_LEN],
    ["3", 8000, 3, 108],
  );
});

Deno.test("an endpoint holds the CID as text and the port in little-endian, zeroed elsewhere", () => {
  const endpoint = socketEndpoint(8000);
  assertEquals(endpoint.length, 112);
  assertEquals([endpoint[0], endpoint[1]], [0x33, 0]);
  assertEquals([...endpoint.subarray(108)], [0x40, 0x1f, 0, 0]);
  assertEquals(endpoint.subarray(1, 108).every((byte) => byte === 0), true);
});

for (const port of [0, 65_536, 1.5]) {
  Deno.test(`an endpoint of port ${port} is refused, since the SDK would take it leniently`, () => {
    assertThrows(() => socketEndpoint(port), RangeError);
  });
}
