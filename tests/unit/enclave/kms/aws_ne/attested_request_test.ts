/** What an attested request holds, and what is taken for an envelope. */
import { assertEquals } from "@std/assert";
import { isEnvelopedData, requestBody } from "../../../../../lib/enclave/kms/aws_ne/attested_request.ts";
import type { KmsCall } from "../../../../../lib/enclave/kms/aws_ne/mod.ts";

const ciphertext = new Uint8Array([1, 2, 3]);
const context = { app: "denclave", purpose: "tsk" };

const BODIES: readonly (readonly [KmsCall, Record<string, unknown>])[] = [
  [{ kind: "decrypt", ciphertext }, { CiphertextBlob: "AQID" }],
  [{ kind: "decrypt", ciphertext, keyId: "k" }, {
    CiphertextBlob: "AQID",
    KeyId: "k",
    EncryptionAlgorithm: "SYMMETRIC_DEFAULT",
  }],
  [{ kind: "decrypt", ciphertext, keyId: "k", context }, {
    CiphertextBlob: "AQID",
    KeyId: "k",
    EncryptionAlgorithm: "SYMMETRIC_DEFAULT",
    EncryptionContext: context,
  }],
  [{ kind: "generateDataKey", keyId: "k", keySpec: "AES_128" }, { KeyId: "k", KeySpec: "AES_128" }],
  [{ kind: "generateDataKey", keyId: "k", keySpec: "AES_256", context }, {
    KeyId: "k",
    KeySpec: "AES_256",
    EncryptionContext: context,
  }],
  [{ kind: "generateRandom", length: 32 }, { NumberOfBytes: 32 }],
];
for (const [call, body] of BODIES) {
  Deno.test(`a request of ${call.kind} has ${Object.keys(body).join(", ")}`, () =>
    assertEquals(JSON.parse(JSON.stringify(requestBody(call))), body));
}

const TYPE = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
const ENVELOPES: readonly (readonly [string, readonly number[], boolean])[] = [
  ["of indefinite length", [0x30, 0x80, ...TYPE, 0xa0], true],
  ["of a short length", [0x30, 0x20, ...TYPE, 0xa0], true],
  ["of a length in one octet", [0x30, 0x81, 0xff, ...TYPE, 0xa0], true],
  ["of a length in two octets", [0x30, 0x82, 0x01, 0x80, ...TYPE, 0xa0], true],
  ["that ends after its head", [0x30, 0x80], false],
  ["that is empty", [], false],
  ["of another type", [0x30, 0x80, ...TYPE.slice(0, -1), 0x02], false],
  ["of another tag", [0x31, 0x80, ...TYPE], false],
  ["that is cut", [0x30, 0x80, ...TYPE.slice(0, -1)], false],
];
for (const [what, bytes, expected] of ENVELOPES) {
  Deno.test(`an envelope ${what} is ${expected ? "taken" : "refused"}`, () => {
    assertEquals(isEnvelopedData(new Uint8Array(bytes)), expected);
  });
}
