/** What `process` blobs are bound to: the bytes, the fields that ask for it, and the worked example of the docs. */
import { assertEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { WireError } from "../../../../lib/shared/wire/messages.ts";
import { processBinding, readProcessBinding } from "../../../../lib/shared/wire/process_binding.ts";

const ID = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";

/** Additional data, and "hello" sealed with it, as Python's cryptography made them: key 00..1f, nonces 00..0b and 10..1b. */
const EXAMPLES = [
  [
    "request",
    "64656e636c6176652d70726f636573730101a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    "000102030405060708090a0b2f67ba77aa26f1216556d923370b7fd2f6552dd3ad",
  ],
  [
    "reply",
    "64656e636c6176652d70726f636573730102a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    "101112131415161718191a1b159bf47a26232d0c0290b963b32c95bafcaa49992b",
  ],
] as const;
for (const [direction, data, blob] of EXAMPLES) {
  Deno.test(`the worked example of a ${direction} opens, and docs/protocol.md shows it`, async () => {
    assertEquals(encodeHex(processBinding(direction, decodeHex(ID))), data);
    using key = new SealingKey(new SecretBytes(Uint8Array.from({ length: 32 }, (_, index) => index)), {
      random: HOST_RANDOM.fill,
    });
    const opened = await key.open(decodeHex(blob), processBinding(direction, decodeHex(ID)));
    assertEquals(new TextDecoder().decode(opened), "hello");
    const docs = await Deno.readTextFile(new URL("../../../../docs/protocol.md", import.meta.url));
    for (const hex of [data, blob]) assertEquals(docs.includes(hex), true, hex);
  });
}

Deno.test("a request is bound where it says so, and not otherwise", () => {
  assertEquals(readProcessBinding({}, { required: false }), undefined);
  assertEquals(readProcessBinding({ bind: false, request_id: ID }, { required: false }), undefined);
  for (const request of [{}, { bind: false, request_id: ID }]) {
    const error = assertThrows(() => readProcessBinding(request, { required: true }), WireError);
    assertEquals(error.code, "binding_required");
  }
  const bound = readProcessBinding({ bind: true, request_id: ID.toUpperCase() }, { required: true });
  assertEquals([bound?.request, bound?.reply].map((data) => encodeHex(data ?? new Uint8Array(0))), [
    EXAMPLES[0][1],
    EXAMPLES[1][1],
  ]);
});
