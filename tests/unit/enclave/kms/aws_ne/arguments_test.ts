/** Arguments of the SDK's calls, checked at their limits. */
import { assertEquals, assertThrows } from "@std/assert";
import { Credentials } from "../../../../../lib/shared/aws/credentials.ts";
import {
  checkAlgorithm,
  checkCiphertext,
  checkCredentials,
  checkKeyId,
  checkRandomLength,
  checkRegion,
} from "../../../../../lib/enclave/kms/aws_ne/arguments.ts";
import { SdkArgumentError } from "../../../../../lib/enclave/kms/aws_ne/errors.ts";

const A = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

Deno.test("arguments are checked at their limits", () => {
  checkCiphertext(new Uint8Array(6144));
  checkRandomLength(1024);
  checkKeyId(A);
  checkAlgorithm("SYMMETRIC_DEFAULT");
  checkRegion("us-gov-west-1");
  const refused: readonly (() => void)[] = [
    () => checkCiphertext(new Uint8Array(0)),
    () => checkCiphertext(new Uint8Array(6145)),
    () => checkRandomLength(0),
    () => checkRandomLength(1.5),
    () => checkKeyId(""),
    () => checkKeyId("a b"),
    () => checkKeyId("a".repeat(2049)),
    () => checkAlgorithm("ROT13"),
    () => checkRegion("us-east-1.evil.example"),
    () => checkRegion("us-east-1/"),
    () => checkRegion(""),
  ];
  for (const check of refused) assertThrows(check, SdkArgumentError);
});

for (
  const [name, strings] of [
    ["accessKeyId", { accessKeyId: "", secretAccessKey: "S", sessionToken: "" }],
    ["secretAccessKey", { accessKeyId: "A", secretAccessKey: "", sessionToken: "" }],
    ["accessKeyId", { accessKeyId: "A".repeat(129), secretAccessKey: "S", sessionToken: "" }],
    ["sessionToken", { accessKeyId: "A", secretAccessKey: "S", sessionToken: "t".repeat(16_385) }],
    ["secretAccessKey", { accessKeyId: "A", secretAccessKey: "S\0", sessionToken: "" }],
  ] as const
) {
  Deno.test(`credentials with a wrong ${name} are refused by name, without its value`, () => {
    using credentials = Credentials.fromStrings(strings);
    const error = assertThrows(() => checkCredentials(credentials), SdkArgumentError);
    assertEquals([error.symbol, error.message.includes("SS")], [name, false]);
  });
}
