import { assertEquals } from "@std/assert";
import type { KeyPolicy } from "../../../../lib/ctl/aws/key_policy.ts";
import { lockOutRisks } from "../../../../lib/ctl/policy/evaluate.ts";
import { renderKeyPolicy } from "../../../../lib/ctl/policy/render.ts";
import { ADMIN, BUILD_A, DEFAULT_POLICY, PARENT, policyOf } from "../../../fixtures/key_policies.ts";

const SECOND = "arn:aws:iam::123456789012:role/Second";
const ROOT = "arn:aws:iam::123456789012:root";
const administeredBy = (...administrators: readonly string[]) =>
  renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators });
const byDefault = policyOf(...DEFAULT_POLICY.Statement);

const ALONE = `${ADMIN} alone may change this policy`;
const ROOT_GOES = "The statement of the account's root goes";
const ROWS: readonly (readonly [string, KeyPolicy, KeyPolicy, readonly string[]])[] = [
  ["one administrator", administeredBy(ADMIN, SECOND), administeredBy(ADMIN), [ALONE]],
  ["one administrator in place of the root", byDefault, administeredBy(ADMIN), [ALONE, ROOT_GOES]],
  ["two administrators in place of the root", byDefault, administeredBy(ADMIN, SECOND), [ROOT_GOES]],
  ["two administrators", administeredBy(ADMIN), administeredBy(ADMIN, SECOND), []],
  ["the root, which stays", byDefault, administeredBy(ROOT), []],
  ["an administrator and one with a condition", administeredBy(ADMIN, SECOND), {
    ...administeredBy(ADMIN),
    Statement: [...administeredBy(ADMIN).Statement, {
      Effect: "Allow",
      Principal: { AWS: [SECOND] },
      Action: ["kms:PutKeyPolicy"],
      Resource: ["*"],
      Condition: { Bool: { "aws:MultiFactorAuthPresent": ["true"] } },
    }],
  }, [ALONE]],
];

for (const [name, before, after, expected] of ROWS) {
  Deno.test(`policy apply: the risks of a lock-out with ${name}`, () => {
    const risks = lockOutRisks(before, after);
    assertEquals(risks.map((risk, at) => risk.slice(0, expected[at]?.length)), expected);
  });
}
