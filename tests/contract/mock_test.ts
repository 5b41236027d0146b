/**
 * The contract, against the mocked dlopen: runs anywhere, without a compiler. And what only the mock can do: answers whose structs are not what
 * SDK 0.4 makes, each of which would have the enclave read memory that is not its own, or not there.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { AWS_BYTE_BUF, readWord, REST_RESPONSE, writeWord } from "../../ffi/layout.ts";
import { Credentials, SdkGenericError, WarmSession } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { MockSdk } from "../helpers/mock_sdk.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";
import { testSdkContract } from "./sdk_contract.ts";

testSdkContract("mock", () => new MockSdk());

const PLAINTEXT = new TextEncoder().encode("thirty-two bytes of a key: 01234");

/** Makes one Decrypt in a warm session. */
function decryptWarm(mock: MockSdk) {
  using warm = new WarmSession({
    open: () => mock.open(),
    proxyPort: 8000,
    seedBytes: 0,
    idleMs: 1_000,
    maxWarm: 1,
    now: () => 0,
  });
  using credentials = Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "" });
  const ciphertext = stubWrap(PLAINTEXT);
  const { plaintext } = warm.call("us-east-1", credentials, {
    kind: "decrypt",
    ciphertext,
    keyId: STUB_KEY_ARN,
  });
  using opened = plaintext;
  return { plaintext: new Uint8Array(opened.expose()), blockingBecause: warm.state.blockingBecause };
}

for (
  const [index, what] of [
    "the client",
    "the key pair",
    "the rest client",
    "the service's name",
    "the region's name",
    "the connection",
  ].entries()
) {
  Deno.test(`mock: ${what} at an address where nothing is mapped is not read, and the SDK's own functions are used`, () => {
    const mock = new MockSdk();
    let looks = 0;
    mock.isMapped = () => looks++ !== index;
    const { plaintext, blockingBecause } = decryptWarm(mock);
    assertEquals(plaintext, PLAINTEXT);
    assert(blockingBecause !== undefined);
    assertEquals(mock.log().includes("aws_nitro_enclaves_rest_client_request_blocking"), false);
  });
}

const BODY = REST_RESPONSE.data;
const UNMAPPED = 0x7000_0000_0000n;
for (
  const [what, change] of [
    [
      "does not begin with its allocator",
      (struct: Uint8Array) => writeWord(struct, REST_RESPONSE.allocator, 8n),
    ],
    [
      "has a body of another allocator",
      (struct: Uint8Array) => writeWord(struct, BODY + AWS_BYTE_BUF.allocator, 8n),
    ],
    [
      "has a body longer than its memory",
      (struct: Uint8Array) => writeWord(struct, BODY + AWS_BYTE_BUF.capacity, 1n),
    ],
    [
      "has a body of more than a megabyte",
      (struct: Uint8Array) => {
        writeWord(struct, BODY + AWS_BYTE_BUF.len, 2n ** 20n + 1n);
        writeWord(struct, BODY + AWS_BYTE_BUF.capacity, 2n ** 32n);
      },
    ],
    [
      "has its body at no address",
      (struct: Uint8Array) => writeWord(struct, BODY + AWS_BYTE_BUF.buffer, 0n),
    ],
    [
      "has its body where nothing is mapped",
      (struct: Uint8Array) => writeWord(struct, BODY + AWS_BYTE_BUF.buffer, UNMAPPED),
    ],
  ] as const
) {
  Deno.test(`mock: an answer that ${what} is not read, and the SDK's own functions are used`, () => {
    const mock = new MockSdk();
    mock.isMapped = (address) => address !== UNMAPPED;
    mock.changeResponse = change;
    const { plaintext, blockingBecause } = decryptWarm(mock);
    assertEquals([plaintext, blockingBecause], [
      PLAINTEXT,
      "KMS's answer has another layout than SDK 0.4's",
    ]);
    assertEquals(mock.faults(), { notWiped: 0, doubleFree: 0, misuse: 0 });
  });
}

for (const length of [1, 15, 17, 32]) {
  Deno.test(`mock: an IV of ${length} bytes, of which AES would read 16, never reaches the SDK's cipher`, () => {
    const mock = new MockSdk();
    mock.ivLength = length;
    assertThrows(() => decryptWarm(mock), SdkGenericError, "Cannot open the envelope");
    assertEquals(mock.log().includes("aws_cms_cipher_decrypt"), false);
  });
}

Deno.test("mock: bytes that were lent to the SDK are zeros once they are released", () => {
  const sdk = new MockSdk().open();
  using library = sdk.initLibrary();
  const lent = library.inBuffer(new TextEncoder().encode("a request's body"));
  const address = readWord(lent.struct, AWS_BYTE_BUF.buffer);
  lent[Symbol.dispose]();
  assertEquals(library.readMemory(address, 16n), new Uint8Array(16));
});
