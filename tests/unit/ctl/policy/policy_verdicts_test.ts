/**
 * The linter's verdict on every policy of the repository, and on three that were written elsewhere.
 * docs/key_policies.md has the table of the first.
 */
import { assert, assertEquals } from "@std/assert";
import { type KeyPolicy, readKeyPolicy } from "../../../../lib/ctl/aws/key_policy.ts";
import { defaultPolicy } from "../../../../lib/dev/kms_emulator/keys.ts";
import { lintKeyPolicy } from "../../../../lib/ctl/policy/lint.ts";
import { finalise, renderKeyPolicy, rollOver } from "../../../../lib/ctl/policy/render.ts";
import {
  ADMIN,
  BUILD_A,
  BUILD_B,
  DEFAULT_POLICY,
  deny,
  PARENT,
  USE,
} from "../../../fixtures/key_policies.ts";
import { ADMIN as PLACE_ADMIN, BUILD, policyFor, ROLE } from "../../../helpers/kms_place.ts";
import { policyVector } from "../../../helpers/vectors.ts";

const DOCUMENT = new URL("../../../../docs/key_policies.md", import.meta.url);
const [ISSUER, ROLES] = ["arn:aws:iam::123456789012:role/Issuer", {
  parents: [PARENT],
  administrators: [ADMIN],
}];
const rendered = renderKeyPolicy({ builds: [BUILD_A], ...ROLES });
const both = rollOver(rendered, BUILD_B, ROLES);

interface Reviewed {
  readonly parents: readonly string[];
  readonly reviewed: readonly string[];
}
const REVIEWED: Reviewed = { parents: [PARENT], reviewed: [ADMIN] };

/** The statement that docs/key_policies.md shows, with a build's values filled in, in a policy. */
async function documentedPolicy(): Promise<KeyPolicy> {
  const [, json = ""] = /```json\n([\s\S]*?)```/.exec(await Deno.readTextFile(DOCUMENT)) ?? [];
  const values = [BUILD_A.pcr0, BUILD_A.pcr1, BUILD_A.pcr2];
  const filled = json.replace(/\["…[^"]*"\]/g, () => JSON.stringify([values.shift()]))
    .replaceAll("arn:aws:iam::111122223333:role/Parent", PARENT);
  return { ...rendered, Statement: [...readKeyPolicy(`{"Statement":[${filled}]}`).Statement] };
}

/** A rendered policy with a Deny that was meant as a second guard. */
const locksOut = (
  Condition: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>,
): KeyPolicy => ({
  ...rendered,
  Statement: [...rendered.Statement, deny(USE, Condition)],
});
const LOCKED_OUT = ["deny-refuses-build", "unknown-condition-key"];

/** What it is, the policy, and the rules that it breaks: those that fail, and those that warn. */
const ROWS: readonly (readonly [string, KeyPolicy, readonly string[], readonly string[], Reviewed?])[] = [
  ["KMS's default policy", DEFAULT_POLICY, ["wildcard-action"], ["data-key-without-plaintext"]],
  ["`policy render`: one build", rendered, [], ["administrator"]],
  ["`policy render`: two builds", renderKeyPolicy({ builds: [BUILD_A, BUILD_B], ...ROLES }), [], [
    "administrator",
  ]],
  [
    "`policy render`: with every option",
    renderKeyPolicy({
      builds: [{ ...BUILD_A, pcr3: BUILD_B.pcr0, pcr4: BUILD_B.pcr1, pcr8: BUILD_B.pcr2 }],
      ...ROLES,
      issuers: [ISSUER],
      imageSha384: true,
      generateRandom: true,
      inspect: true,
    }),
    [],
    ["administrator"],
  ],
  ["`policy rollover`: old and new build", both, [], ["administrator"]],
  ["`policy finalise`: the new build", finalise(both, [BUILD_B]), [], ["administrator"]],
  [
    "a rendered one, and a Deny where `kms:RecipientAttestation` is absent",
    locksOut({ Null: { "kms:RecipientAttestation": ["true"] } }),
    LOCKED_OUT,
    ["administrator"],
  ],
  [
    "a rendered one, and a Deny where `kms:RecipientAttestation:PCRO` is another value",
    locksOut({ StringNotEqualsIgnoreCase: { "kms:RecipientAttestation:PCRO": [BUILD_A.pcr0] } }),
    LOCKED_OUT,
    ["administrator"],
  ],
  ["the statement above, alone", await documentedPolicy(), [], ["no-guard", "nobody-administers"]],
];
const OF_TESTS: typeof ROWS = [
  ["the emulator's default policy", readKeyPolicy(defaultPolicy("123456789012").text), ["wildcard-action"], [
    "data-key-without-plaintext",
  ]],
  [
    "the emulator's tests",
    readKeyPolicy(policyFor([BUILD.old, BUILD.new])),
    [],
    ["administrator", "no-guard", "pcr0-alone"],
    { parents: [ROLE], reviewed: [PLACE_ADMIN] },
  ],
];

function verdict(policy: KeyPolicy, options: Reviewed = REVIEWED) {
  const { ok, findings } = lintKeyPolicy(policy, options);
  const rules = (severity: string) =>
    [
      ...new Set(findings.filter((one) => one.severity === severity).map(({ rule }) => rule)),
    ].sort();
  return { ok, fail: rules("fail"), warn: rules("warn") };
}

for (const [name, policy, fail, warn, options] of [...ROWS, ...OF_TESTS]) {
  Deno.test(`the verdict on ${name} is ${fail.length === 0 ? "ok" : "not ok"}`, () => {
    assertEquals(verdict(policy, options), { ok: fail.length === 0, fail, warn });
  });
}

Deno.test("docs/key_policies.md has the verdicts", async () => {
  const code = (rules: readonly string[]) => rules.map((rule) => `\`${rule}\``).join(", ");
  const lines = ROWS.map(([name, , fail, warn]) =>
    `| ${name} | ${fail.length === 0 ? "ok" : "not ok"} | ${code(fail)} | ${code(warn)} |\n`
  );
  const table = ["| policy | verdict | fails | warns |\n", "|---|---|---|---|\n", ...lines].join("");
  assert((await Deno.readTextFile(DOCUMENT)).includes(table), table);
});

/** They lock every enclave out: conditions on a key that KMS does not have, which hold for every request. */
for (const name of ["24_recipient_key_bare.json", "61_deny_null_typo.json", "63_deny_neq_bare.json"]) {
  const policy = policyVector(name);
  if (policy === undefined) continue;
  Deno.test(`the verdict on ${name} is not ok`, () => {
    const roles = {
      parents: ["arn:aws:iam::111122223333:role/Parent"],
      reviewed: ["arn:aws:iam::111122223333:role/KeyAdmin"],
    };
    const expected = { ok: false, fail: LOCKED_OUT, warn: ["administrator", "no-guard"] };
    assertEquals(verdict(readKeyPolicy(policy), roles), expected);
  });
}
