/** The table of AWS's errors: one meaning for each, for all callers. */
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { type HintReader, parentAdvice } from "../../../../lib/ctl/aws/advice.ts";
import { awsAdvice, type AwsMeaning } from "../../../../lib/shared/aws/errors.ts";
import { hintFor } from "../../../../lib/shared/aws/kms_reasons.ts";

const READERS: readonly HintReader[] = ["key", "createKey", "wrap", "table"];

const MEANINGS: readonly (readonly [string, AwsMeaning])[] = [
  ["AccessDeniedException", "denied"],
  ["AccessDenied", "denied"],
  ["ExpiredTokenException", "expired"],
  ["ExpiredToken", "expired"],
  ["UnrecognizedClientException", "credentials"],
  ["SignatureDoesNotMatch", "credentials"],
  ["NotFoundException", "missing"],
  ["ResourceNotFoundException", "missing"],
  ["ValidationException", "refused"],
  ["ThrottlingException", "unavailable"],
  ["TimeoutError", "unavailable"],
  ["constructor", "unavailable"],
];
for (const [name, meaning] of MEANINGS) {
  Deno.test(`${name} means ${meaning} to every reader, with a hint`, () => {
    if (meaning !== "unavailable") assertEquals(awsAdvice(name)?.meaning, meaning);
    assertEquals(READERS.map((reader) => parentAdvice(name, reader).meaning), READERS.map(() => meaning));
    for (const reader of READERS) assertMatch(parentAdvice(name, reader).hint, /\w.*\.$|\)\.?$/);
  });
}

Deno.test("an expired token gets the same advice from every tool of the parent, by either of its names", () => {
  const hints = (["key", "createKey", "table"] as const).flatMap((reader) =>
    ["ExpiredTokenException", "ExpiredToken"].map((name) => parentAdvice(name, reader).hint)
  );
  assertEquals(new Set(hints).size, 1);
  assertMatch(hints[0] ?? "", /log in again/);
  const enclave = hintFor({ name: "ExpiredTokenException", message: "" });
  assertMatch(enclave, /send fresh ones/);
  assertNotEquals(enclave, hints[0]);
});
