/** The linter of key policies: what it finds in good ones and bad ones, each with its rule. */
import { assertEquals, assertThrows } from "@std/assert";
import { PolicyError } from "../../../../lib/ctl/policy/errors.ts";
import { renderKeyPolicy } from "../../../../lib/ctl/policy/render.ts";
import type { KeyPolicy, KeyPolicyStatement } from "../../../../lib/ctl/aws/key_policy.ts";
import { lintKeyPolicy, type LintOptions } from "../../../../lib/ctl/policy/lint.ts";
import { RULES } from "../../../../lib/ctl/policy/rules.ts";
import { sessionKeyStatement } from "../../../../lib/ctl/policy/session_key_statement.ts";
import {
  ACCOUNT,
  ADMIN,
  ADMINISTRATION,
  ALL_USE,
  allow,
  BUILD_A,
  BUILD_B,
  DEFAULT_POLICY,
  deny,
  onBuild,
  PARENT,
  pcr,
  policyOf,
  ROOT,
  USE,
} from "../../../fixtures/key_policies.ts";

const SAME = "StringEqualsIgnoreCase";
const OTHER = "StringNotEqualsIgnoreCase";
const ZEROS = "0".repeat(96);
const A = BUILD_A.pcr0;
const B = BUILD_B.pcr0;
const attested = { [SAME]: onBuild(BUILD_A) };
const good = allow(USE, attested, { Sid: "Good" });
const guard = deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A] } }, { Sid: "Guard" });
const whole = [good, guard];

/** An Allow of Decrypt under a condition. */
function under(operator: string, condition: Record<string, readonly string[]>): KeyPolicyStatement {
  return allow(["kms:Decrypt"], { [operator]: condition });
}

const REFUSES_ALL = "deny-refuses-build! unknown-condition-key!";
const KEYS = "kms:RecipientAttestation:";
const buildWith = (more: Record<string, readonly string[]>) =>
  allow(USE, { [SAME]: { ...onBuild(BUILD_A), ...more } });
const attestedAnd = (more: Record<string, Record<string, readonly string[]>>) =>
  allow(USE, { ...attested, ...more });
const guardOf = (...builds: readonly string[]) => deny(ALL_USE, { [OTHER]: { [pcr(0)]: builds } });
const denied = (
  condition: Record<string, Record<string, readonly string[]>>,
  more: object = {},
) => [...whole, deny(USE, condition, more)];
const of = (principal: string) => ({ Principal: { AWS: [principal] } });

/** The condition key of PCR0, with a Kelvin sign: by Unicode's rules its lower case is a k. */
const KELVIN = "\u212ams:RecipientAttestation:PCR0";
const ALIAS = `arn:aws:kms:us-east-1:${ACCOUNT}:alias/mine`;
const KEY = `arn:aws:kms:us-east-1:${ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
const sessionOf = (role: string) => `arn:aws:sts::${ACCOUNT}:assumed-role/${role}/i-1234`;
const SESSION = sessionOf("EnclaveRole");
const ADMIN_SESSION = sessionOf("KeyAdmin");
const OTHER_ROLE = `arn:aws:iam::${ACCOUNT}:role/Other`;
const putKeyPolicy = (principal: string) =>
  allow(["kms:PutKeyPolicy"], undefined, { Principal: { AWS: [principal] } });

const reviewed: LintOptions = { reviewed: [ADMIN], parents: [PARENT] };
const withFacts = (facts: LintOptions["facts"]): LintOptions => ({
  ...reviewed,
  ...(facts === undefined ? {} : { facts }),
});
const live = (...operations: readonly string[]) =>
  withFacts({ grants: [{ id: "g1", grantee: "arn:aws:iam::123456789012:role/X", operations }] });

/**
 * What is tried, the statements after the administrator's, and what is found: the rule, with `!` when it fails. What every policy here has, a
 * warning of the administrator, is left out.
 */
const CASES: readonly (readonly [string, string, readonly KeyPolicyStatement[], LintOptions?])[] = [
  ["a build and its guard", "", whole],
  ["a build without a guard", "no-guard", [good]],
  ["two builds, a statement each", "", [
    good,
    allow(USE, { [SAME]: onBuild(BUILD_B) }, { Sid: "B" }),
    guardOf(A, B),
  ]],
  ["ImageSha384 beside the PCRs", "", [buildWith({ [`${KEYS}ImageSha384`]: [A] }), guard]],
  ["condition keys in other letters", "", [
    allow(USE, {
      [SAME]: Object.fromEntries(
        Object.entries(onBuild(BUILD_A)).map(([key, value]) => [key.toUpperCase(), value]),
      ),
    }),
    guard,
  ]],
  ["reading rights for the parent", "", [...whole, allow(["kms:Describe*", "kms:Get*", "kms:List*"])]],
  ["a Deny of zero PCRs", "", [...whole, deny(ALL_USE, { StringEquals: { [pcr(0)]: [ZEROS] } })]],
  ["the import of key material", "import-key-material!", [...whole, allow(["kms:ImportKeyMaterial"])]],
  ["root's kms:*, all that hurts denied", "administrator deny-refuses-build!", [
    ...whole,
    allow(["kms:*"], undefined, of(ROOT)),
    deny([
      "kms:Decrypt",
      "kms:Generate*",
      "kms:DeriveSharedSecret",
      "kms:ReEncrypt*",
      "kms:CreateGrant",
      "kms:Encrypt",
      "kms:ReplicateKey",
      "kms:UpdateAlias",
    ]),
  ], { reviewed: [ADMIN, ROOT], parents: [PARENT] }],
  ["Decrypt without a condition", "unattested-use!", [allow(["kms:Decrypt"])]],
  ["Decrypt in other letters", "unattested-use!", [allow(["KMS:decrypt"])]],
  ["Decrypt for the administrator, reviewed", "administrator no-guard", [
    ...whole.slice(0, 1),
    allow(["kms:Decrypt"], undefined, of(ADMIN)),
  ]],
  ["the parent among the reviewed", "unattested-use!", [allow(["kms:Decrypt"])], {
    reviewed: [ADMIN, PARENT],
    parents: [PARENT],
  }],
  ["Decrypt without a condition under the guard", "relies-on-deny", [...whole, allow(["kms:Decrypt"])]],
  ["ReEncryptFrom", "re-encrypt!", [...whole, allow(["kms:ReEncryptFrom"])]],
  ["ReEncrypt*", "wildcard-action!", [...whole, allow(["kms:ReEncrypt*"])]],
  ["CreateGrant", "create-grant!", [...whole, allow(["kms:CreateGrant"])]],
  ["PutKeyPolicy for the parent", "put-key-policy!", [...whole, allow(["kms:PutKeyPolicy"])]],
  ["ReplicateKey", "replicate-key!", [...whole, allow(["kms:ReplicateKey"])]],
  ["Encrypt", "encrypt!", [...whole, allow(["kms:Encrypt"])]],
  ["UpdateAlias", "update-alias!", [...whole, allow(["kms:UpdateAlias"])]],
  ["data keys without plaintext", "data-key-without-plaintext", [
    ...whole,
    allow(["kms:GenerateDataKeyWithoutPlaintext"]),
  ]],
  ["kms:* for the account", "data-key-without-plaintext wildcard-action!", [
    allow(["kms:*"], undefined, of(ROOT)),
  ]],
  ["* for the account by number, reviewed", "administrator data-key-without-plaintext wildcard-action!", [
    allow(["*"], undefined, { Principal: { AWS: ["123456789012"] } }),
  ], { reviewed: [ADMIN, ROOT], parents: [PARENT] }],
  ["a wildcard in the service's name", "wildcard-action!", [allow(["k*:Decrypt"])]],
  ["kms:* under the right condition", "condition-never-met!", [allow(["kms:*"], attested), guard]],
  ["GenerateDataKey* under the right condition", "condition-never-met", [
    allow(["kms:Decrypt", "kms:GenerateDataKey*"], attested),
    guard,
  ]],
  [
    "NotAction",
    "data-key-without-plaintext not-action! relies-on-deny",
    [...whole, {
      ...allow([]),
      NotAction: ["kms:CreateGrant"],
      Action: undefined,
    }] as unknown as KeyPolicyStatement[],
  ],
  ["NotAction that spares all that hurts", "", [...whole, {
    Effect: "Allow",
    Principal: { AWS: [PARENT] },
    NotAction: ["kms:*"],
    Resource: ["*"],
  }]],
  ["NotPrincipal in an Allow", "not-principal!", [...whole, {
    Effect: "Allow",
    NotPrincipal: { AWS: [ADMIN] },
    Action: ["kms:DescribeKey"],
    Resource: ["*"],
  }]],
  ["NotResource in an Allow", "not-resource!", [...whole, {
    Effect: "Allow",
    Principal: { AWS: [PARENT] },
    Action: ["kms:DescribeKey"],
    NotResource: ["arn:aws:kms:*"],
  }]],
  ["everyone, attested", "principal-everyone!", [{ ...good, Principal: "*" }, guard]],
  ["a role with a wildcard", "principal-wildcard!", [{
    ...good,
    Principal: { AWS: ["arn:aws:iam::123456789012:role/*"] },
  }, guard]],
  ["a service with Decrypt", "unattested-use!", [
    allow(["kms:Decrypt"], undefined, { Principal: { Service: ["logs.amazonaws.com"] } }),
  ]],
  ["a negated operator", "negated-operator!", [under("StringNotEquals", { [pcr(0)]: [ZEROS] })]],
  ["IfExists", "if-exists!", [under("StringEqualsIfExists", onBuild(BUILD_A))]],
  ["ForAllValues", "for-all-values!", [under("ForAllValues:StringEquals", onBuild(BUILD_A))]],
  ["ForAnyValue", "set-qualifier", [under("ForAnyValue:StringEquals", onBuild(BUILD_A)), guard]],
  ["a pattern", "like-wildcard! no-guard", [under("StringLike", { [pcr(0)]: [`${A.slice(0, 40)}*`] })]],
  ["Null true", "null-condition!", [under("Null", { [pcr(0)]: ["true"] })]],
  ["Null false alone", "no-guard null-condition!", [under("Null", { [pcr(0)]: ["false"] })]],
  ["an ARN's operator", "wrong-operator!", [under("ArnEquals", { [pcr(0)]: [A] })]],
  ["NitroTPM's registers", "nitrotpm! no-guard", [under(SAME, { [`${KEYS}NitroTPMPCR4`]: [A] })]],
  ["a misspelt key", "no-guard unknown-condition-key!", [
    under(SAME, { "kms:RecipientAttestation:ImageSha256": [A] }),
  ]],
  ["a value too short", "no-guard pcr-value!", [buildWith({ [pcr(0)]: [A.slice(2)] })]],
  ["a value that is no hex", "no-guard pcr-value!", [buildWith({ [pcr(1)]: ["x".repeat(96)] })]],
  ["no value", "no-guard no-values!", [buildWith({ [pcr(0)]: [] })]],
  ["zeros", "no-guard zero-pcr!", [under(SAME, { [pcr(0)]: [ZEROS], [pcr(1)]: [ZEROS], [pcr(2)]: [ZEROS] })]],
  ["upper case where case matters", "contradiction! guard-stale pcr-case", [
    under("StringEquals", { ...onBuild(BUILD_A), [pcr(0)]: [A.toUpperCase()] }),
    guard,
  ]],
  ["upper case where it does not", "", [buildWith({ [pcr(0)]: [A.toUpperCase()] }), guard]],
  ["lists for several PCRs", "mixed-pcrs!", [
    allow(USE, {
      [SAME]: {
        [pcr(0)]: [A, B],
        [pcr(1)]: [BUILD_A.pcr1, BUILD_B.pcr1],
        [pcr(2)]: [BUILD_A.pcr2, BUILD_B.pcr2],
      },
    }),
    guardOf(A, B),
  ]],
  ["a list for PCR0 alone, the others the same", "", [buildWith({ [pcr(0)]: [A, B] }), guardOf(A, B)]],
  ["PCR0 and another ImageSha384", "contradiction! guard-stale", [
    buildWith({ [`${KEYS}ImageSha384`]: [B] }),
    guardOf(A),
  ]],
  ["PCR0 alone", "pcr0-alone", [under(SAME, { [pcr(0)]: [A] }), guard]],
  ["PCR1 and PCR2", "pcr0-missing", [under(SAME, { [pcr(1)]: [A], [pcr(2)]: [A] }), guard]],
  ["PCR1 alone", "no-guard pcr1-alone!", [under(SAME, { [pcr(1)]: [A] })]],
  ["PCR2 alone", "no-guard pcr2-without-pcr1!", [under(SAME, { [pcr(2)]: [A] })]],
  ["PCR3 alone", "no-guard only-pcr3-pcr4!", [under(SAME, { [pcr(3)]: [A] })]],
  ["PCR8 alone", "no-guard pcr8-alone", [under(SAME, { [pcr(8)]: [A] })]],
  ["a register that the software fills", "no-guard other-pcrs-only!", [under(SAME, { [pcr(16)]: [A] })]],
  ["a Deny with several negated PCRs", "deny-several-negated! no-guard", [
    good,
    deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A], [pcr(1)]: [BUILD_A.pcr1] } }),
  ]],
  ["a Deny with PCR0 by both its names", "no-guard", [
    good,
    deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A], [`${KEYS}ImageSha384`]: [A] } }),
  ]],
  ["a Deny that spares who brings no document", "deny-for-any-value! no-guard", [
    good,
    deny(ALL_USE, { "ForAnyValue:StringNotEquals": { [pcr(0)]: [A] } }),
  ]],
  ["a guard that lets zeros through", "no-guard zero-pcr!", [good, guardOf(A, ZEROS)]],
  ["a guard of patterns", "deny-refuses-build! like-wildcard! no-guard", [
    good,
    deny(ALL_USE, { StringNotLike: { [pcr(0)]: ["*"] } }),
  ]],
  ["a guard for some of the actions", "no-guard", [
    good,
    deny(["kms:Decrypt"], { [OTHER]: { [pcr(0)]: [A] } }),
  ]],
  ["a guard for the parent alone, and Decrypt for another", "no-guard unattested-use!", [
    good,
    deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A] } }, { Principal: { AWS: [PARENT] } }),
    allow(["kms:Decrypt"], undefined, { Principal: { AWS: ["arn:aws:iam::123456789012:role/Else"] } }),
  ]],
  ["a guard that misses the build", "guard-misses-build! guard-stale", [good, guardOf(B)]],
  ["a guard with a build that is gone", "guard-stale", [good, guardOf(A, B)]],
  ["a guard that spares somebody", "deny-exempts no-guard", [good, {
    Effect: "Deny",
    NotPrincipal: { AWS: [ADMIN] },
    Action: ALL_USE,
    Resource: ["*"],
    Condition: { [OTHER]: { [pcr(0)]: [A] } },
  }]],
  ["a guard over kms:*", "deny-locks-out! relies-on-deny", [
    good,
    deny(["kms:*"], { [OTHER]: { [pcr(0)]: [A] } }),
  ]],
  ["one Sid twice", "duplicate-sid", [good, { ...allow(USE, attested), Sid: "Good" }, guard]],
  ["an invalid action", "unknown-action", [...whole, allow(["kms:Decypt"])]],
  ["material from outside", "external-origin", whole, withFacts({ origin: "EXTERNAL" })],
  ["material of KMS's own", "", whole, withFacts({ origin: "AWS_KMS", multiRegion: false, grants: [] })],
  ["a multi-Region key", "multi-region", whole, withFacts({ multiRegion: true })],
  ["a grant of Decrypt, no guard", "live-grant! no-guard", [good], live("Decrypt")],
  ["a grant of Decrypt under the guard", "live-grant", whole, live("Decrypt")],
  ["a grant of ReEncryptFrom under the guard", "live-grant!", whole, live("Decrypt", "ReEncryptFrom")],
  ...["kms:RecipientAttestation", "kms:RecipientAttestation:PCRO", "kms:EncryptionContex:app", "PCR0", KELVIN]
    .flatMap((
      key,
    ) => [
      [`a Deny where ${key} is absent`, REFUSES_ALL, denied({ Null: { [key]: ["true"] } })] as const,
      [`a Deny where ${key} is another value`, REFUSES_ALL, denied({ [OTHER]: { [key]: [A] } })] as const,
    ]),
  ["an Allow by a Kelvin sign", "unattested-use! unknown-condition-key!", [under(SAME, { [KELVIN]: [A] })]],
  ["a guard by a Kelvin sign", "deny-refuses-build! no-guard unknown-condition-key!", [
    good,
    deny(ALL_USE, { [OTHER]: { [KELVIN]: [A] } }),
  ]],
  ["an action by a Kelvin sign", "unknown-action!", [...whole, allow(["\u212ams:Decrypt"], attested)]],
  [
    "a Deny where NitroTPM's registers are absent",
    "deny-refuses-build! nitrotpm!",
    denied({ Null: { [`${KEYS}NitroTPMPCR4`]: ["true"] } }),
  ],
  [
    "a Deny of all but requests through a service",
    "deny-refuses-build!",
    denied({ StringNotEquals: { "kms:ViaService": ["s3.us-east-1.amazonaws.com"] } }),
  ],
  ["a Deny without TLS", "", [...whole, deny(["kms:*"], { Bool: { "aws:SecureTransport": ["false"] } })]],
  ["a Deny by network", "deny-depends", denied({ StringNotEquals: { "aws:SourceVpc": ["vpc-1"] } })],
  [
    "a Deny by network, of another build",
    "",
    denied({ StringNotEquals: { "aws:SourceVpc": ["vpc-1"] }, StringEquals: { [pcr(0)]: [B] } }),
  ],
  [
    "a Deny where a register that the software fills is absent",
    "deny-refuses-build!",
    denied({ Null: { [pcr(16)]: ["true"] } }),
  ],
  ["a Deny for the account", "deny-refuses-build!", denied({ StringEquals: { [pcr(0)]: [A] } }, of(ROOT))],
  ["a Deny for the parent, whose account the Allow names", "deny-refuses-build!", [
    { ...good, Principal: { AWS: [ROOT] } },
    guard,
    deny(USE, undefined, of(PARENT)),
  ]],
  ["a Deny of one of the builds in a list", "deny-refuses-build!", [
    buildWith({ [pcr(0)]: [A, B] }),
    deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, B] } }, { Sid: "Guard" }),
    deny(USE, { StringEquals: { [pcr(0)]: [B] } }),
  ]],
  [
    "a Deny with an operator that there is not",
    "deny-refuses-build! wrong-operator!",
    denied({ StringNotEqual: { [pcr(1)]: [BUILD_A.pcr1] } }),
  ],
  ["an operator in other letters", "wrong-operator!", [under("stringequals", onBuild(BUILD_A)), guard]],
  ["an administrator under conditions on keys that requests may have", "", [
    ...whole,
    allow(["kms:DescribeKey"], {
      StringEquals: Object.fromEntries(
        [
          "aws:PrincipalTag/team",
          "AWS:PRINCIPALORGID",
          "accounts.google.com:aud",
          "ec2:SourceInstanceArn",
          "kms:EncryptionContext:any",
          "kms:GrantOperations",
        ].map((key) => [key, ["x"]]),
      ),
    }),
  ]],
  ["keys that nearly are ones that requests may have", "unknown-condition-key!", [
    ...whole,
    allow(["kms:DescribeKey"], { StringEquals: { "aws:PrincipalTag": ["x"] } }),
    allow(["kms:DescribeKey"], { StringEquals: { "kms.RecipientAttestation:PCR0": ["x"] } }, { Sid: "B" }),
  ]],
  ["Decrypt under a key that KMS may have since", "unattested-use! unknown-condition-key", [
    allow(["kms:Decrypt"], { StringEquals: { "aws:New": ["x"] } }),
  ], { ...reviewed, accepted: ["unknown-condition-key"] }],
  ["a service, attested", "allows-nobody!", [
    { ...good, Principal: { Service: ["ec2.amazonaws.com"] } },
    guard,
  ]],
  ["requests through a service alone, attested", "allows-nobody!", [
    attestedAnd({ StringEquals: { "kms:ViaService": ["s3.us-east-1.amazonaws.com"] } }),
    guard,
  ]],
  ["a misspelt action beside another, attested", "unknown-action!", [
    allow(["kms:Decypt", "kms:GenerateDataKey"], attested),
    guard,
  ]],
  ["an alias as Resource", "other-resource!", [{ ...good, Resource: [ALIAS] }, guard]],
  ["an alias as Resource of the guard", "no-guard other-resource!", [good, { ...guard, Resource: [ALIAS] }]],
  ["an alias beside the key", "", [{ ...good, Resource: ["*", ALIAS] }, guard]],
  ["a key's ARN as Resource", "resource-by-arn", [{ ...good, Resource: [KEY] }, guard]],
  ["a key's ARN as Resource of the guard", "no-guard resource-by-arn", [good, { ...guard, Resource: [KEY] }]],
  // What denies nothing of the key takes nothing away, and refuses no build.
  ["an alias as Resource of a Deny", "other-resource!", [...whole, { ...deny(USE), Resource: [ALIAS] }]],
  ["CreateGrant, and a Deny of it for an alias", "create-grant! other-resource!", [
    ...whole,
    allow(["kms:CreateGrant"]),
    { ...deny(["kms:CreateGrant"]), Resource: [ALIAS] },
  ]],
  ["CreateGrant, and a Deny of it for a key by its ARN", "create-grant! resource-by-arn", [
    ...whole,
    allow(["kms:CreateGrant"]),
    { ...deny(["kms:CreateGrant"]), Resource: [KEY] },
  ]],
  ["a Deny for all but an alias", "deny-refuses-build!", [...whole, {
    Effect: "Deny",
    Principal: "*",
    Action: USE,
    NotResource: [ALIAS],
  }]],
  ["the parent as issuer of session keys", "parent-issues", [...whole, sessionKeyStatement([PARENT])]],
  ["the account as issuer, and a Deny for the parent", "", [
    ...whole,
    sessionKeyStatement([ROOT]),
    deny(["kms:Encrypt"], undefined, of(PARENT)),
  ]],
  ["the user of an Allow as issuer, with no parent named", "parent-issues", [
    ...whole,
    sessionKeyStatement([PARENT]),
  ], { reviewed: [ADMIN] }],
  [
    "PutKeyPolicy for a reviewed session of the parent",
    "put-key-policy!",
    [...whole, putKeyPolicy(SESSION)],
    { reviewed: [ADMIN, SESSION], parents: [PARENT] },
  ],
  ["PutKeyPolicy for the reviewed role of a parent's session", "put-key-policy!", [
    guard,
    putKeyPolicy(PARENT),
  ], { reviewed: [ADMIN, PARENT], parents: [SESSION] }],
  ["PutKeyPolicy for the user of an Allow, reviewed, with no parent named", "put-key-policy!", [
    ...whole,
    putKeyPolicy(PARENT),
  ], { reviewed: [ADMIN, PARENT] }],
  ["PutKeyPolicy for a session of the reviewed administrator", "administrator", [
    ...whole,
    putKeyPolicy(ADMIN_SESSION),
  ]],
  ["PutKeyPolicy for a role of which a session was reviewed", "put-key-policy!", [
    guard,
    putKeyPolicy(OTHER_ROLE),
  ], { reviewed: [ADMIN, sessionOf("Other")] }],
  ["CreateGrant, and a Deny of it to a session", "create-grant!", [
    ...whole,
    allow(["kms:CreateGrant"]),
    deny(["kms:CreateGrant"], undefined, of(SESSION)),
  ]],
  ["a Deny that locks out by Null", "deny-locks-out!", [
    ...whole,
    deny(["kms:Put*"], { Null: { [pcr(0)]: ["true"] } }),
  ]],
  ["a failing rule, accepted", "encrypt", [...whole, allow(["kms:Encrypt"])], {
    ...reviewed,
    accepted: ["encrypt"],
  }],
];

/** The rules found, those that fail with `!`; without the warning that every policy here has. */
function found(policy: KeyPolicy, options: LintOptions = reviewed): readonly string[] {
  const { findings } = lintKeyPolicy(policy, options);
  const rules = findings.filter(({ rule, statement }) => rule !== "administrator" || statement !== "Admin")
    .map(({ rule, severity }) => `${rule}${severity === "fail" ? "!" : ""}`);
  return [...new Set(rules)].sort();
}

for (const [name, expected, statements, options] of CASES) {
  Deno.test(`lint: ${name}`, () => {
    assertEquals(found(policyOf(...statements), options), expected.split(" ").filter(Boolean).sort());
  });
}

Deno.test("lint: KMS's default policy fails, and the finding names what it lets through, and a remedy", () => {
  const { ok, findings } = lintKeyPolicy(DEFAULT_POLICY);
  const wildcard = findings.find(({ rule }) => rule === "wildcard-action");
  assertEquals([ok, wildcard?.severity, wildcard?.statement], [false, "fail", "Enable IAM User Permissions"]);
  for (
    const action of [
      "Decrypt",
      "GenerateDataKey",
      "ReEncryptFrom",
      "CreateGrant",
      "PutKeyPolicy",
      "ReplicateKey",
    ]
  ) assertEquals(wildcard?.message.includes(action), true, action);
  assertEquals(wildcard?.remedy.includes("guarding Deny"), true);
});

Deno.test("lint: a policy that no principal may change causes a warning", () => {
  const policy = { Version: "2012-10-17", Statement: [good, guard] };
  assertEquals(found(policy), ["nobody-administers"]);
});

Deno.test("lint: an administrator that was not reviewed fails", () => {
  assertEquals(found({ Statement: [ADMINISTRATION, ...whole] }, {}), ["put-key-policy!"]);
});

Deno.test("lint: every rule has a row that finds it", () => {
  const seen = new Set([
    "nobody-administers",
    "put-key-policy",
    ...CASES.flatMap(([, rules]) => rules.replaceAll("!", "").split(" ")),
  ]);
  assertEquals(Object.keys(RULES).filter((rule) => !seen.has(rule)), []);
});

const ISSUER = "arn:aws:iam::111122223333:role/Issuer";
const WRAP_CONDITIONS = {
  StringEquals: {
    "kms:EncryptionContext:app": ["denclave"],
    "kms:EncryptionContext:purpose": ["tsk"],
  },
  "ForAllValues:StringEquals": { "kms:EncryptionContextKeys": ["app", "purpose", "epoch"] },
};

/** Whether an Allow of kms:Encrypt under some conditions fails the lint. */
function encryptFails(
  Condition: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>,
): boolean {
  const policy = renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN] });
  const statement = {
    Effect: "Allow",
    Principal: { AWS: [ISSUER] },
    Action: ["kms:Encrypt"],
    Resource: ["*"],
    Condition,
  } as const;
  return !lintKeyPolicy({ ...policy, Statement: [...policy.Statement, statement] }, {
    parents: [PARENT],
    reviewed: [ADMIN],
  }).ok;
}

Deno.test("Encrypt is accepted for a principal that can only wrap session keys, and fails in every weaker form", () => {
  const { StringEquals, "ForAllValues:StringEquals": keys } = WRAP_CONDITIONS;
  const rendered = renderKeyPolicy({
    builds: [BUILD_A],
    parents: [PARENT],
    administrators: [ADMIN],
    issuers: [ISSUER],
  });
  assertEquals(lintKeyPolicy(rendered, { parents: [PARENT], reviewed: [ADMIN] }).ok, true);
  assertEquals(encryptFails(WRAP_CONDITIONS), false);
  const { "kms:EncryptionContext:app": app, "kms:EncryptionContext:purpose": purpose } = StringEquals;
  const weaker: readonly Parameters<typeof encryptFails>[0][] = [
    {},
    { StringEquals },
    { "ForAllValues:StringEquals": keys },
    { StringLike: StringEquals, "ForAllValues:StringEquals": keys },
    { StringEqualsIfExists: StringEquals, "ForAllValues:StringEquals": keys },
    { StringEquals: { "kms:EncryptionContext:app": app }, "ForAllValues:StringEquals": keys },
    { StringEquals: { "kms:EncryptionContext:purpose": purpose }, "ForAllValues:StringEquals": keys },
    {
      StringEquals: { ...StringEquals, "kms:EncryptionContext:purpose": ["tsk", "wallet"] },
      "ForAllValues:StringEquals": keys,
    },
    {
      StringEquals,
      "ForAllValues:StringEquals": { "kms:EncryptionContextKeys": ["app", "purpose", "name"] },
    },
    { StringEquals, "ForAnyValue:StringEquals": keys },
    // Without the key in the request ForAllValues holds.
    { StringEquals, "ForAllValues:StringEquals": { "\u212ams:EncryptionContextKeys": ["app", "purpose"] } },
  ];
  for (const Condition of weaker) assertEquals(encryptFails(Condition), true, JSON.stringify(Condition));
});

Deno.test("a parent cannot be rendered as an issuer of session keys", () => {
  assertThrows(
    () =>
      renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN], issuers: [PARENT] }),
    PolicyError,
    "both parent and issuer",
  );
});
