/** Key ARNs: which are accepted, and which allowed key a request selects. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseKeyArn, selectKey } from "../../../../lib/shared/aws/key_arn.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";

const A = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const B = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234567890abcdef1234567890abcdef";
const C = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/99999999-12ab-34cd-56ef-1234567890ab";

for (const arn of [A, B, C]) {
  Deno.test(`${arn} is a key`, () => assertEquals(parseKeyArn(arn).arn, arn));
}

for (
  const text of [
    "",
    "alias/mine",
    "1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:kms:us-east-1:111122223333:alias/mine",
    "arn:aws:kms:us-east-1.evil.example:111122223333:key/a",
    "arn:aws:kms::111122223333:key/a",
    "arn:aws:kms:us-east-1:1111:key/a",
    "arn:aws:s3:us-east-1:111122223333:key/a",
    // A region of another partition.
    A.replace("arn:aws:", "arn:aws-cn:"),
    A.replace("us-east-1", "eusc-de-east-1"),
    C.replace("aws-us-gov", "aws"),
    `${A} `,
    `${A}\n`,
  ]
) {
  Deno.test(`${JSON.stringify(text)} is no key that may be allowed`, () => {
    assertEquals(assertThrows(() => parseKeyArn(text), EnclaveError).code, "invalid_key_arn");
  });
}

const SELECTIONS:
  readonly (readonly [string, readonly string[], { key?: string; region?: string }, string | undefined])[] = [
    ["the only key, unasked", [A], {}, A],
    ["by ARN", [A, B], { key: B }, B],
    ["by the id at the end of an ARN", [A, B], { key: "mrk-1234567890abcdef1234567890abcdef" }, B],
    ["by region, where one key is in it", [A, C], { region: "us-gov-west-1" }, C],
    ["none where several fit", [A, B], {}, undefined],
  ];
for (const [what, allowed, selection, expected] of SELECTIONS) {
  Deno.test(`a request selects ${what}`, () => {
    const select = () => selectKey(allowed.map(parseKeyArn), selection).arn;
    if (expected !== undefined) assertEquals(select(), expected);
    else assertEquals(assertThrows(select, EnclaveError).code, "key_not_allowed");
  });
}

/** Of what a request gives: the words of the refusal. */
const REASONS: readonly (readonly [{ key?: string; region?: string }, string])[] = [
  [{ key: "alias/mine" }, "Field key_id names a KMS key that is not among the allowed ones"],
  [
    { key: A.replace(":111122223333:", ":999988887777:") },
    "Field key_id names a KMS key of account 999988887777 in us-east-1, where no KMS key is allowed: " +
    "a row that names it was made for another configuration",
  ],
  [
    { region: "eu-west-1" },
    "Field region does not name the region of an allowed KMS key",
  ],
];
for (const [selection, message] of REASONS) {
  Deno.test(`a request with ${JSON.stringify(selection)} is told why no KMS key fits`, () => {
    const select = () => selectKey([parseKeyArn(A)], { ...selection, field: "key_id" });
    assertEquals(assertThrows(select, EnclaveError).message, message);
  });
}
