/** Denies that keep a build out although an Allow admits it; callers who would lock themselves out; names written twice. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { admission, lockedOut } from "../../../../lib/ctl/policy/evaluate.ts";
import { PolicyError } from "../../../../lib/ctl/policy/errors.ts";
import { formatKeyPolicy, type KeyPolicy, parseKeyPolicy } from "../../../../lib/ctl/aws/key_policy.ts";
import { lintKeyPolicy } from "../../../../lib/ctl/policy/lint.ts";
import { renderKeyPolicy, rollOver } from "../../../../lib/ctl/policy/render.ts";

const PARENT = "arn:aws:iam::111122223333:role/Parent";
const ADMIN = "arn:aws:iam::111122223333:role/KeyAdmin";
const pcr = (digit: string) => digit.repeat(96);
const BUILD = { pcr0: pcr("a"), pcr1: pcr("b"), pcr2: pcr("c") };
const NEXT = { pcr0: pcr("d"), pcr1: pcr("e"), pcr2: pcr("f") };
const PREFIX = "kms:RecipientAttestation:";

function withStatement(statement: Record<string, unknown>): KeyPolicy {
  const policy = renderKeyPolicy({ builds: [BUILD], parents: [PARENT], administrators: [ADMIN] });
  const json = JSON.parse(formatKeyPolicy(policy));
  json.Statement.push({ Sid: "More", Resource: "*", ...statement });
  return parseKeyPolicy(json);
}

const deny = (condition?: Record<string, unknown>) => ({
  Effect: "Deny",
  Principal: "*",
  Action: "kms:Decrypt",
  ...(condition === undefined ? {} : { Condition: condition }),
});

const REFUSING: readonly (readonly [string, Record<string, unknown>])[] = [
  ["without conditions", deny()],
  ["for the build's own PCR0", deny({ StringEquals: { [`${PREFIX}PCR0`]: BUILD.pcr0 } })],
  ["for all but another PCR1", deny({ StringNotEquals: { [`${PREFIX}PCR1`]: NEXT.pcr1 } })],
  ["for whoever has a document", deny({ Null: { [`${PREFIX}PCR0`]: "false" } })],
  [
    "for all but an upper-case PCR1, compared exactly",
    deny({ StringNotEquals: { [`${PREFIX}PCR1`]: BUILD.pcr1.toUpperCase() } }),
  ],
];

for (const [what, statement] of REFUSING) {
  Deno.test(`a Deny ${what} keeps the build out, and lint says so`, () => {
    const policy = withStatement(statement);
    const { admitted, refusedBy } = admission(policy, BUILD);
    assertEquals([admitted, refusedBy.length], [false, 1]);
    const { ok, findings } = lintKeyPolicy(policy, { parents: [PARENT], reviewed: [ADMIN] });
    assertEquals(ok, false);
    assert(findings.some(({ rule }) => rule === "deny-refuses-build"), JSON.stringify(findings));
  });
}

const HARMLESS: readonly (readonly [string, Record<string, unknown>])[] = [
  ["for another build", deny({ StringEquals: { [`${PREFIX}PCR0`]: NEXT.pcr0 } })],
  ["for all but this PCR1", deny({ StringNotEqualsIgnoreCase: { [`${PREFIX}PCR1`]: BUILD.pcr1 } })],
  ["without a document", deny({ Null: { [`${PREFIX}PCR0`]: "true" } })],
  ["for somebody else", { ...deny(), Principal: { AWS: "arn:aws:iam::111122223333:role/Other" } }],
];

for (const [what, statement] of HARMLESS) {
  Deno.test(`a Deny ${what} keeps no build out`, () =>
    assertEquals(admission(withStatement(statement), BUILD).admitted, true));
}

Deno.test("an Allow that compares exactly with upper case admits nothing", () => {
  const json = JSON.parse(
    formatKeyPolicy(renderKeyPolicy({ builds: [BUILD], parents: [PARENT], administrators: [ADMIN] })),
  );
  for (const statement of json.Statement) {
    if (statement.Effect !== "Allow" || statement.Condition === undefined) continue;
    const keys = Object.values(statement.Condition)[0] as Record<string, string[]>;
    statement.Condition = {
      StringEquals: Object.fromEntries(
        Object.entries(keys).map(([key, values]) => [key, values.map((v) => v.toUpperCase())]),
      ),
    };
  }
  assertEquals(admission(parseKeyPolicy(json), BUILD).admitted, false);
});

Deno.test("a roll-over that another Deny would keep from working is refused", () => {
  const policy = withStatement(deny({ StringNotEqualsIgnoreCase: { [`${PREFIX}PCR1`]: BUILD.pcr1 } }));
  assertThrows(() => rollOver(policy, NEXT, { parents: [PARENT] }), PolicyError, "would not admit");
});

const SESSION = "arn:aws:sts::111122223333:assumed-role/KeyAdmin/today";
const only = (principal: string) =>
  parseKeyPolicy({
    Version: "2012-10-17",
    Statement: [{
      Effect: "Allow",
      Principal: { AWS: principal },
      Action: "kms:PutKeyPolicy",
      Resource: "*",
    }],
  });

Deno.test("a right of the current session alone does not count", () => {
  assertEquals(lockedOut(only(ADMIN), SESSION), undefined);
  assert(lockedOut(only(SESSION), SESSION) !== undefined);
});

Deno.test("a Deny for another session of the caller's role counts", () => {
  const json = JSON.parse(formatKeyPolicy(only(ADMIN)));
  json.Statement.push({
    Effect: "Deny",
    Principal: { AWS: "arn:aws:sts::111122223333:assumed-role/KeyAdmin/yesterday" },
    Action: "kms:PutKeyPolicy",
    Resource: "*",
  });
  assert(lockedOut(parseKeyPolicy(json), SESSION) !== undefined);
});
