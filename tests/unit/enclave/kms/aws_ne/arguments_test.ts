/** Arguments of KMS calls, checked at their limits. */
import { assertEquals, assertThrows } from "@std/assert";
import { SdkError } from "../../../../../ffi/errors.ts";
import { checkCall } from "../../../../../lib/enclave/kms/aws_ne/arguments.ts";
import type { KmsCall } from "../../../../../lib/enclave/kms/aws_ne/calls.ts";
import { Credentials } from "../../../../../lib/shared/aws/credentials.ts";

const STRINGS = { accessKeyId: "A", secretAccessKey: "S", sessionToken: "" };
const ciphertext = new Uint8Array(6144);
const decrypt = (part: Record<string, unknown>) => ({ kind: "decrypt", ciphertext, ...part }) as KmsCall;
const random = (length: number) => ({ kind: "generateRandom", length }) as const;
const dataKey = (keyId: string) => ({ kind: "generateDataKey", keyId, keySpec: "AES_256" }) as const;

type Case = readonly [symbol: string, call: KmsCall, region?: string, strings?: Partial<typeof STRINGS>];

Deno.test("arguments at their limits are accepted", () => {
  using who = Credentials.fromStrings({
    ...STRINGS,
    accessKeyId: "A".repeat(128),
    sessionToken: "t".repeat(16_384),
  });
  const keyId = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
  checkCall("us-gov-west-1", who, decrypt({ keyId, algorithm: "SYMMETRIC_DEFAULT" }));
  checkCall("us-east-1", who, random(1024));
  checkCall("us-east-1", who, dataKey("k".repeat(2048)));
});

const REFUSED: readonly Case[] = [
  ["ciphertext", decrypt({ ciphertext: new Uint8Array(0) })],
  ["ciphertext", decrypt({ ciphertext: new Uint8Array(6145) })],
  ["keyId", decrypt({ keyId: "" })],
  ["keyId", decrypt({ keyId: "a b" })],
  ["keyId", dataKey("a".repeat(2049))],
  ["encryptionAlgorithm", decrypt({ algorithm: "ROT13" })],
  ["length", random(0)],
  ["length", random(1.5)],
  ["region", random(1), "us-east-1.evil.example"],
  ["region", random(1), "us-east-1/"],
  ["region", random(1), ""],
  ["accessKeyId", random(1), "us-east-1", { accessKeyId: "" }],
  ["secretAccessKey", random(1), "us-east-1", { secretAccessKey: "" }],
  ["accessKeyId", random(1), "us-east-1", { accessKeyId: "A".repeat(129) }],
  ["sessionToken", random(1), "us-east-1", { sessionToken: "SS".repeat(8_193) }],
  ["secretAccessKey", random(1), "us-east-1", { secretAccessKey: "SS\0" }],
];

Deno.test("arguments beyond their limits are refused by name, without a credential's value", () => {
  for (const [symbol, call, region = "us-east-1", strings = {}] of REFUSED) {
    using who = Credentials.fromStrings({ ...STRINGS, ...strings });
    const error = assertThrows(() => checkCall(region, who, call), SdkError);
    assertEquals([error.code, error.symbol, error.message.includes("SS")], [
      "invalid_argument",
      symbol,
      false,
    ]);
  }
});
