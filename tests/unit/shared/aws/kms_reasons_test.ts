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

Deno.test("the hint for a denied call names PCRs, and every error has a hint", () => {
  assertMatch(hintFor({ name: "AccessDeniedException", message: "" }), /PCR/);
  for (const reason of [undefined, { name: "Unheard", message: "" }]) assertMatch(hintFor(reason), /\w/);
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
    new Set([...hints, hintFor(undefined), hintFor({ name: "Unheard", message: "" })]).size,
    hints.length + 2,
  );
});

Deno.test("a message of KMS may be spelled either way, or be missing", () => {
  assertEquals([
    parseKmsReason({ __type: "A", message: "m" })?.message,
    parseKmsReason({ __type: "A", Message: "M" })?.message,
    parseKmsReason({ __type: "A" })?.message,
    parseKmsReason({ __type: "A", message: 5 })?.message,
  ], ["m", "M", "", ""]);
});

Deno.test("the hint is text for any error name that KMS may give", () => {
  assertEquals(typeof hintFor({ name: "constructor", message: "" }), "string");
});
