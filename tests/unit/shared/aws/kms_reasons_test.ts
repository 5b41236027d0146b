/** KMS's error names and messages, and the hint for each. */
import { assertEquals, assertMatch } from "@std/assert";
import { hintFor, parseKmsReason } from "../../../../lib/shared/aws/kms_reasons.ts";

Deno.test("KMS's answer gives its error name and message, with any prefix cut off", () => {
  assertEquals(parseKmsReason({ __type: "com.amazonaws.kms#NotFoundException", message: "no key" }), {
    name: "NotFoundException",
    message: "no key",
  });
  assertEquals(parseKmsReason({ __type: "X", Message: "m".repeat(600) })?.message.length, 500);
  for (const answer of [{}, { __type: 1 }, { __type: "<script>" }]) {
    assertEquals(parseKmsReason(answer), undefined);
  }
});

Deno.test("the hint for a denied call names PCRs", () => {
  assertMatch(hintFor({ name: "AccessDeniedException", message: "" }), /PCR/);
});

const KNOWN_REASONS = [
  "AccessDeniedException",
  "ExpiredTokenException",
  "UnrecognizedClientException",
  "InvalidSignatureException",
  "InvalidCiphertextException",
  "IncorrectKeyException",
  "NotFoundException",
  "DisabledException",
  "KMSInvalidStateException",
  "ThrottlingException",
  "ValidationException",
];
Deno.test("each of KMS's usual errors has a hint of its own", () => {
  const hints = KNOWN_REASONS.map((name) => hintFor({ name, message: "" }));
  assertEquals(
    new Set([...hints, hintFor(undefined), hintFor({ name: "constructor", message: "" })]).size,
    hints.length + 2,
  );
});
