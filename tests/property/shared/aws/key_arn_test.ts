/** Properties of key ARNs and the choice among them. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseKeyArn, selectKey } from "../../../../lib/shared/aws/key_arn.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { runs } from "../../../helpers/effort.ts";

const RUNS = runs(500);

const ARNS = ["us-east-1", "eu-west-1"].flatMap((region) =>
  ["a", "b"].map((letter) => `arn:aws:kms:${region}:111122223333:key/${letter.repeat(8)}`)
);

Deno.test("whatever a request says, it gets only an allowed key, and only the one that it named", () => {
  const anything = fc.oneof(
    fc.string(),
    fc.constantFrom(...ARNS, "aaaaaaaa", "bbbbbbbb", "alias/mine", "constructor", undefined),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.constantFrom(...ARNS)),
      anything,
      fc.oneof(fc.string(), fc.constantFrom("us-east-1", "eu-west-1", undefined)),
      (allowed, key, region) => {
        try {
          const { arn, id, region: chosen } = selectKey(allowed.map(parseKeyArn), { key, region });
          assert(allowed.includes(arn));
          assert(key === undefined || key === arn || key === id);
          assert(region === undefined || region === chosen);
        } catch (thrown) {
          assert(thrown instanceof EnclaveError && thrown.code === "key_not_allowed", String(thrown));
        }
      },
    ),
    RUNS,
  );
});

Deno.test("any text is a key's ARN, or refused as one, and what is taken has the region's shape", () => {
  const mutated = fc.tuple(fc.constantFrom(...ARNS), fc.nat({ max: 60 }), fc.string({ maxLength: 3 }))
    .map(([arn, at, text]) => arn.slice(0, at) + text + arn.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(fc.string(), mutated), (text) => {
      try {
        const { arn, region } = parseKeyArn(text);
        assertEquals([arn, /^[a-z]+(-[a-z]+)+-[0-9]{1,2}$/.test(region)], [text, true]);
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && thrown.code === "invalid_key_arn", String(thrown));
      }
    }),
    RUNS,
  );
});
