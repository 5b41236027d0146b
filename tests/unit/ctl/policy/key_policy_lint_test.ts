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
const CASES: readonly (readonly [string, readonly KeyPolicyStatement[], readonly string[], LintOptions?])[] =
  [
    ["a build and its guard", whole, []],
    ["a build without a guard", [good], ["no-guard"]],
    ["two builds, a statement each", [
      good,
      allow(USE, { [SAME]: onBuild(BUILD_B) }, { Sid: "B" }),
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, B] } }),
    ], []],
    ["GenerateRandom with the document", [
      allow([...USE, "kms:GenerateRandom"], attested),
      guard,
    ], []],
    ["ImageSha384 beside the PCRs", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), "kms:RecipientAttestation:ImageSha384": [A] } }),
      guard,
    ], []],
    ["condition keys in other letters", [
      allow(USE, {
        [SAME]: Object.fromEntries(
          Object.entries(onBuild(BUILD_A)).map(([key, value]) => [key.toUpperCase(), value]),
        ),
      }),
      guard,
    ], []],
    ["PCR3, PCR4 and PCR8 beside the image's", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), [pcr(3)]: [B], [pcr(4)]: [B], [pcr(8)]: [B] } }),
      guard,
    ], []],
    ["other conditions beside", [
      allow(USE, { ...attested, StringEquals: { "kms:EncryptionContext:app": ["denclave"] } }),
      guard,
    ], []],
    ["reading rights for the parent", [...whole, allow(["kms:Describe*", "kms:Get*", "kms:List*"])], []],
    ["Null false beside the PCRs", [
      allow(USE, { ...attested, Null: { [pcr(0)]: ["false"] } }),
      guard,
    ], []],
    ["StringLike without wildcards", [under("StringLike", onBuild(BUILD_A)), guard], []],
    ["a Deny of zero PCRs", [...whole, deny(ALL_USE, { StringEquals: { [pcr(0)]: [ZEROS] } })], []],
    ["the import of key material", [...whole, allow(["kms:ImportKeyMaterial"])], ["import-key-material!"]],
    ["a Deny of grants", [...whole, deny(["kms:CreateGrant"])], []],
    [
      "root's kms:*, all that hurts denied",
      [
        ...whole,
        allow(["kms:*"], undefined, { Principal: { AWS: [ROOT] } }),
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
      ],
      ["administrator", "deny-refuses-build!"],
      { reviewed: [ADMIN, ROOT], parents: [PARENT] },
    ],
    [
      "UpdateAlias by the administrator",
      [...whole, allow(["kms:UpdateAlias"], undefined, { Principal: { AWS: [ADMIN] } })],
      ["administrator"],
    ],
    ["Decrypt without a condition", [allow(["kms:Decrypt"])], ["unattested-use!"]],
    ["GenerateDataKey without a condition", [allow(["kms:GenerateDataKey"])], ["unattested-use!"]],
    ["GenerateDataKeyPair without a condition", [allow(["kms:GenerateDataKeyPair"])], ["unattested-use!"]],
    ["DeriveSharedSecret without a condition", [allow(["kms:DeriveSharedSecret"])], ["unattested-use!"]],
    ["Decrypt in other letters", [allow(["KMS:decrypt"])], ["unattested-use!"]],
    ["Decrypt under conditions about something else", [
      allow(["kms:Decrypt"], { StringEquals: { "aws:SourceVpc": ["vpc-1"] } }),
    ], ["unattested-use!"]],
    ["Decrypt for the administrator, reviewed", [
      ...whole.slice(0, 1),
      allow(["kms:Decrypt"], undefined, { Principal: { AWS: [ADMIN] } }),
    ], ["administrator", "no-guard"]],
    ["the parent among the reviewed", [allow(["kms:Decrypt"])], ["unattested-use!"], {
      reviewed: [ADMIN, PARENT],
      parents: [PARENT],
    }],
    [
      "Decrypt without a condition under the guard",
      [...whole, allow(["kms:Decrypt"])],
      ["relies-on-deny"],
    ],
    ["ReEncryptFrom", [...whole, allow(["kms:ReEncryptFrom"])], ["re-encrypt!"]],
    ["ReEncryptTo", [...whole, allow(["kms:ReEncryptTo"])], ["re-encrypt!"]],
    ["ReEncrypt*", [...whole, allow(["kms:ReEncrypt*"])], ["wildcard-action!"]],
    ["Re*", [...whole, allow(["kms:Re*"])], ["wildcard-action!"]],
    ["CreateGrant", [...whole, allow(["kms:CreateGrant"])], ["create-grant!"]],
    ["PutKeyPolicy for the parent", [...whole, allow(["kms:PutKeyPolicy"])], ["put-key-policy!"]],
    ["ReplicateKey", [...whole, allow(["kms:ReplicateKey"])], ["replicate-key!"]],
    ["Encrypt", [...whole, allow(["kms:Encrypt"])], ["encrypt!"]],
    ["UpdateAlias", [...whole, allow(["kms:UpdateAlias"])], ["update-alias!"]],
    ["data keys without plaintext", [
      ...whole,
      allow(["kms:GenerateDataKeyWithoutPlaintext"]),
    ], ["data-key-without-plaintext"]],
    [
      "kms:* for the account",
      [allow(["kms:*"], undefined, { Principal: { AWS: [ROOT] } })],
      ["data-key-without-plaintext", "wildcard-action!"],
    ],
    [
      "* for the account by number, reviewed",
      [
        allow(["*"], undefined, { Principal: { AWS: ["123456789012"] } }),
      ],
      ["administrator", "data-key-without-plaintext", "wildcard-action!"],
      {
        reviewed: [ADMIN, ROOT],
        parents: [PARENT],
      },
    ],
    ["a wildcard with a question mark", [allow(["kms:Decryp?"])], ["wildcard-action!"]],
    ["a wildcard in the service's name", [allow(["k*:Decrypt"])], ["wildcard-action!"]],
    ["kms:* under the right condition", [allow(["kms:*"], attested), guard], ["condition-never-met!"]],
    ["GenerateDataKey* under the right condition", [
      allow(["kms:Decrypt", "kms:GenerateDataKey*"], attested),
      guard,
    ], ["condition-never-met"]],
    ["Encrypt under the right condition", [
      allow(["kms:Decrypt", "kms:Encrypt"], attested),
      guard,
    ], ["condition-never-met!"]],
    [
      "Sign under the right condition",
      [allow(["kms:Sign"], attested), guard],
      [
        "condition-never-met!",
        "guard-stale",
      ].slice(0, 1),
    ],
    ["NotAction", [
      ...whole,
      { ...allow([]), NotAction: ["kms:CreateGrant"], Action: undefined },
    ] as unknown as KeyPolicyStatement[], ["data-key-without-plaintext", "not-action!", "relies-on-deny"]],
    ["NotAction that spares all that hurts", [
      ...whole,
      {
        Effect: "Allow",
        Principal: { AWS: [PARENT] },
        NotAction: ["kms:*"],
        Resource: ["*"],
      },
    ], []],
    ["NotPrincipal in an Allow", [
      ...whole,
      { Effect: "Allow", NotPrincipal: { AWS: [ADMIN] }, Action: ["kms:DescribeKey"], Resource: ["*"] },
    ], ["not-principal!"]],
    ["NotResource in an Allow", [
      ...whole,
      {
        Effect: "Allow",
        Principal: { AWS: [PARENT] },
        Action: ["kms:DescribeKey"],
        NotResource: ["arn:aws:kms:*"],
      },
    ], ["not-resource!"]],
    ["everyone, attested", [{ ...good, Principal: "*" }, guard], ["principal-everyone!"]],
    ["everyone as an AWS principal", [{ ...good, Principal: { AWS: ["*"] } }, guard], [
      "principal-everyone!",
    ]],
    ["a role with a wildcard", [
      { ...good, Principal: { AWS: ["arn:aws:iam::123456789012:role/*"] } },
      guard,
    ], ["principal-wildcard!"]],
    ["a service with Decrypt", [
      allow(["kms:Decrypt"], undefined, { Principal: { Service: ["logs.amazonaws.com"] } }),
    ], ["unattested-use!"]],
    ["a negated operator", [under("StringNotEquals", { [pcr(0)]: [ZEROS] })], ["negated-operator!"]],
    ["a negated pattern", [under("StringNotLike", { [pcr(0)]: ["00*"] })], ["negated-operator!"]],
    ["a negated operator, and Encrypt", [
      allow(["kms:Decrypt", "kms:Encrypt"], { StringNotEquals: { [pcr(0)]: [ZEROS] } }),
    ], ["encrypt!", "negated-operator!"]],
    ["IfExists", [under("StringEqualsIfExists", onBuild(BUILD_A))], ["if-exists!"]],
    ["IfExists, case ignored", [under("StringEqualsIgnoreCaseIfExists", { [pcr(0)]: [A] })], ["if-exists!"]],
    ["ForAllValues", [under("ForAllValues:StringEquals", onBuild(BUILD_A))], ["for-all-values!"]],
    ["ForAnyValue", [under("ForAnyValue:StringEquals", onBuild(BUILD_A)), guard], ["set-qualifier"]],
    ["a pattern", [under("StringLike", { [pcr(0)]: [`${A.slice(0, 40)}*`] })], [
      "like-wildcard!",
      "no-guard",
    ]],
    ["a pattern of one star", [under("StringLike", { [pcr(0)]: ["*"] })], ["like-wildcard!", "no-guard"]],
    ["Null true", [under("Null", { [pcr(0)]: ["true"] })], ["null-condition!"]],
    ["Null false alone", [under("Null", { [pcr(0)]: ["false"] })], ["no-guard", "null-condition!"]],
    ["an ARN's operator", [under("ArnEquals", { [pcr(0)]: [A] })], ["wrong-operator!"]],
    ["a misspelt operator", [under("StringEqualz", { [pcr(0)]: [A] })], ["wrong-operator!"]],
    [
      "NitroTPM's registers",
      [under(SAME, { "kms:RecipientAttestation:NitroTPMPCR4": [A] })],
      ["nitrotpm!", "no-guard"],
    ],
    ["NitroTPM's beside the enclave's", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), "kms:RecipientAttestation:NitroTPMPCR7": [A] } }),
      guard,
    ], ["nitrotpm!"]],
    ["an invalid register", [
      under(SAME, { "kms:RecipientAttestation:PCR32": [A] }),
    ], ["no-guard", "unknown-condition-key!"]],
    ["a misspelt key", [
      under(SAME, { "kms:RecipientAttestation:ImageSha256": [A] }),
    ], ["no-guard", "unknown-condition-key!"]],
    ["a value too short", [under(SAME, { ...onBuild(BUILD_A), [pcr(0)]: [A.slice(2)] })], [
      "no-guard",
      "pcr-value!",
    ]],
    ["a value that is no hex", [under(SAME, { ...onBuild(BUILD_A), [pcr(1)]: ["x".repeat(96)] })], [
      "no-guard",
      "pcr-value!",
    ]],
    ["a value with 0x", [under(SAME, { ...onBuild(BUILD_A), [pcr(2)]: [`0x${A}`] })], [
      "no-guard",
      "pcr-value!",
    ]],
    ["a value that is left to be filled in", [under(SAME, { [pcr(0)]: ["YOUR_PCR0_VALUE"] })], [
      "no-guard",
      "pcr-value!",
      "pcr0-alone",
    ]],
    ["no value", [under(SAME, { ...onBuild(BUILD_A), [pcr(0)]: [] })], ["no-guard", "no-values!"]],
    ["zeros", [under(SAME, { [pcr(0)]: [ZEROS], [pcr(1)]: [ZEROS], [pcr(2)]: [ZEROS] })], [
      "no-guard",
      "zero-pcr!",
    ]],
    ["zeros among others", [under(SAME, { ...onBuild(BUILD_A), [pcr(0)]: [A, ZEROS] }), guard], [
      "zero-pcr!",
    ]],
    ["upper case where case matters", [
      under("StringEquals", { ...onBuild(BUILD_A), [pcr(0)]: [A.toUpperCase()] }),
      guard,
    ], ["contradiction!", "guard-stale", "pcr-case"]],
    ["upper case where case matters, beside lower case", [
      under("StringEquals", { ...onBuild(BUILD_A), [pcr(0)]: [A, B.toUpperCase()] }),
      guard,
    ], ["pcr-case"]],
    ["upper case where it does not", [
      under(SAME, { ...onBuild(BUILD_A), [pcr(0)]: [A.toUpperCase()] }),
      guard,
    ], []],
    ["lists for several PCRs", [
      allow(USE, {
        [SAME]: {
          [pcr(0)]: [A, B],
          [pcr(1)]: [BUILD_A.pcr1, BUILD_B.pcr1],
          [pcr(2)]: [BUILD_A.pcr2, BUILD_B.pcr2],
        },
      }),
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, B] } }),
    ], ["mixed-pcrs!"]],
    ["a list for PCR0 alone, the others the same", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), [pcr(0)]: [A, B] } }),
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, B] } }),
    ], []],
    ["the same value twice in two letters", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), [pcr(0)]: [A, A.toUpperCase()] } }),
      guard,
    ], []],
    ["PCR0 and another ImageSha384", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), "kms:RecipientAttestation:ImageSha384": [B] } }),
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A] } }),
    ], ["contradiction!", "guard-stale"]],
    ["PCR0 alone", [under(SAME, { [pcr(0)]: [A] }), guard], ["pcr0-alone"]],
    ["ImageSha384 alone", [under(SAME, { "kms:RecipientAttestation:ImageSha384": [A] }), guard], [
      "pcr0-alone",
    ]],
    ["PCR1 and PCR2", [under(SAME, { [pcr(1)]: [A], [pcr(2)]: [A] }), guard], ["pcr0-missing"]],
    ["PCR1 alone", [under(SAME, { [pcr(1)]: [A] })], ["no-guard", "pcr1-alone!"]],
    ["PCR2 alone", [under(SAME, { [pcr(2)]: [A] })], ["no-guard", "pcr2-without-pcr1!"]],
    ["PCR2 and PCR3", [under(SAME, { [pcr(2)]: [A], [pcr(3)]: [A] })], ["no-guard", "pcr2-without-pcr1!"]],
    ["PCR3 alone", [under(SAME, { [pcr(3)]: [A] })], ["no-guard", "only-pcr3-pcr4!"]],
    ["PCR3 and PCR4", [under(SAME, { [pcr(3)]: [A], [pcr(4)]: [A] })], ["no-guard", "only-pcr3-pcr4!"]],
    ["PCR8 alone", [under(SAME, { [pcr(8)]: [A] })], ["no-guard", "pcr8-alone"]],
    ["PCR8 and PCR3", [under(SAME, { [pcr(3)]: [A], [pcr(8)]: [A] })], ["no-guard", "pcr8-alone"]],
    ["a register that the software fills", [under(SAME, { [pcr(16)]: [A] })], [
      "no-guard",
      "other-pcrs-only!",
    ]],
    ["a Deny with several negated PCRs", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A], [pcr(1)]: [BUILD_A.pcr1] } }),
    ], ["deny-several-negated!", "no-guard"]],
    ["a Deny with several negated PCRs in two operators", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A] }, StringNotEquals: { [pcr(8)]: [B] } }),
    ], ["deny-several-negated!", "no-guard"]],
    ["a Deny with PCR0 by both its names", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A], "kms:RecipientAttestation:ImageSha384": [A] } }),
    ], ["no-guard"]],
    ["a Deny that spares who brings no document", [
      good,
      deny(ALL_USE, { "ForAnyValue:StringNotEquals": { [pcr(0)]: [A] } }),
    ], ["deny-for-any-value!", "no-guard"]],
    ["a guard that lets zeros through", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, ZEROS] } }),
    ], ["no-guard", "zero-pcr!"]],
    ["a guard with a value too short", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, "abc"] } }),
    ], ["no-guard", "pcr-value!"]],
    ["a guard of patterns", [
      good,
      deny(ALL_USE, { StringNotLike: { [pcr(0)]: ["*"] } }),
    ], ["deny-refuses-build!", "like-wildcard!", "no-guard"]],
    ["a guard on NitroTPM's registers", [
      ...whole,
      deny(ALL_USE, { [OTHER]: { "kms:RecipientAttestation:NitroTPMPCR4": [A] } }),
    ], ["deny-refuses-build!", "nitrotpm!"]],
    ["a guard under a further condition", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A] }, Bool: { "aws:SecureTransport": ["true"] } }),
    ], ["no-guard"]],
    ["a guard for some of the actions", [
      good,
      deny(["kms:Decrypt"], { [OTHER]: { [pcr(0)]: [A] } }),
    ], ["no-guard"]],
    ["a guard for the parent alone, and Decrypt for another", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A] } }, { Principal: { AWS: [PARENT] } }),
      allow(["kms:Decrypt"], undefined, { Principal: { AWS: ["arn:aws:iam::123456789012:role/Else"] } }),
    ], ["no-guard", "unattested-use!"]],
    ["a guard that misses the build", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [B] } }),
    ], ["guard-misses-build!", "guard-stale"]],
    ["a guard with a build that is gone", [
      good,
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, B] } }),
    ], ["guard-stale"]],
    ["a guard that spares somebody", [
      good,
      {
        Effect: "Deny",
        NotPrincipal: { AWS: [ADMIN] },
        Action: ALL_USE,
        Resource: ["*"],
        Condition: { [OTHER]: { [pcr(0)]: [A] } },
      },
    ], ["deny-exempts", "no-guard"]],
    ["a guard over kms:*", [good, deny(["kms:*"], { [OTHER]: { [pcr(0)]: [A] } })], [
      "deny-locks-out!",
      "relies-on-deny",
    ]],
    ["a Deny of PutKeyPolicy to all", [...whole, deny(["kms:Put*"])], ["deny-locks-out!"]],
    ["one Sid twice", [good, { ...allow(USE, attested), Sid: "Good" }, guard], ["duplicate-sid"]],
    ["an invalid action", [...whole, allow(["kms:Decypt"])], ["unknown-action"]],
    ["material from outside", whole, ["external-origin"], withFacts({ origin: "EXTERNAL" })],
    ["a key store outside", whole, ["external-origin"], withFacts({ origin: "EXTERNAL_KEY_STORE" })],
    ["material of KMS's own", whole, [], withFacts({ origin: "AWS_KMS", multiRegion: false, grants: [] })],
    ["a multi-Region key", whole, ["multi-region"], withFacts({ multiRegion: true })],
    ["a grant of Decrypt, no guard", [good], ["live-grant!", "no-guard"], live("Decrypt")],
    ["a grant of Decrypt under the guard", whole, ["live-grant"], live("Decrypt")],
    ["a grant of ReEncryptFrom under the guard", whole, ["live-grant!"], live("Decrypt", "ReEncryptFrom")],
    ["a grant of DescribeKey", whole, [], live("DescribeKey", "RetireGrant")],
    ...[
      "kms:RecipientAttestation",
      "kms:RecipientAttestation:PCRO",
      "kms:EncryptionContex:app",
      "PCR0",
      KELVIN,
    ]
      .flatMap((key) => [
        [`a Deny where ${key} is absent`, [...whole, deny(USE, { Null: { [key]: ["true"] } })], [
          "deny-refuses-build!",
          "unknown-condition-key!",
        ]] as const,
        [`a Deny where ${key} is another value`, [...whole, deny(USE, { [OTHER]: { [key]: [A] } })], [
          "deny-refuses-build!",
          "unknown-condition-key!",
        ]] as const,
      ]),
    ["an Allow by a Kelvin sign", [under(SAME, { [KELVIN]: [A] })], [
      "unattested-use!",
      "unknown-condition-key!",
    ]],
    ["a guard by a Kelvin sign", [good, deny(ALL_USE, { [OTHER]: { [KELVIN]: [A] } })], [
      "deny-refuses-build!",
      "no-guard",
      "unknown-condition-key!",
    ]],
    ["an action by a Kelvin sign", [...whole, allow(["\u212ams:Decrypt"], attested)], ["unknown-action!"]],
    ["a Deny where NitroTPM's registers are absent", [
      ...whole,
      deny(USE, { Null: { "kms:RecipientAttestation:NitroTPMPCR4": ["true"] } }),
    ], ["deny-refuses-build!", "nitrotpm!"]],
    ["a Deny of all but requests through a service", [
      ...whole,
      deny(USE, { StringNotEquals: { "kms:ViaService": ["s3.us-east-1.amazonaws.com"] } }),
    ], ["deny-refuses-build!"]],
    ["a Deny of requests through a service", [
      ...whole,
      deny(USE, { StringEquals: { "kms:ViaService": ["s3.us-east-1.amazonaws.com"] } }),
    ], []],
    ["a Deny without TLS", [...whole, deny(["kms:*"], { Bool: { "aws:SecureTransport": ["false"] } })], []],
    ["a Deny by network", [
      ...whole,
      deny(USE, { StringNotEquals: { "aws:SourceVpc": ["vpc-1"] } }),
    ], ["deny-depends"]],
    ["a Deny by network, of another build", [
      ...whole,
      deny(USE, { StringNotEquals: { "aws:SourceVpc": ["vpc-1"] }, StringEquals: { [pcr(0)]: [B] } }),
    ], []],
    ["a Deny where a register that the software fills is absent", [
      ...whole,
      deny(USE, { Null: { [pcr(16)]: ["true"] } }),
    ], ["deny-refuses-build!"]],
    ["a Deny for the account", [
      ...whole,
      deny(USE, { StringEquals: { [pcr(0)]: [A] } }, { Principal: { AWS: [ROOT] } }),
    ], ["deny-refuses-build!"]],
    ["a Deny for a session of the parent", [
      ...whole,
      deny(USE, undefined, { Principal: { AWS: [SESSION] } }),
    ], ["deny-refuses-build!"]],
    ["a Deny for the parent, whose account the Allow names", [
      { ...good, Principal: { AWS: [ROOT] } },
      guard,
      deny(USE, undefined, { Principal: { AWS: [PARENT] } }),
    ], ["deny-refuses-build!"]],
    ["a Deny of one of the builds in a list", [
      allow(USE, { [SAME]: { ...onBuild(BUILD_A), [pcr(0)]: [A, B] } }),
      deny(ALL_USE, { [OTHER]: { [pcr(0)]: [A, B] } }, { Sid: "Guard" }),
      deny(USE, { StringEquals: { [pcr(0)]: [B] } }),
    ], ["deny-refuses-build!"]],
    ["a Deny with an operator that there is not", [
      ...whole,
      deny(USE, { StringNotEqual: { [pcr(1)]: [BUILD_A.pcr1] } }),
    ], ["deny-refuses-build!", "wrong-operator!"]],
    ["an operator in other letters", [under("stringequals", onBuild(BUILD_A)), guard], ["wrong-operator!"]],
    ["Null with an unknown value, beside the PCRs", [
      allow(USE, { ...attested, Null: { [pcr(0)]: ["false", "true"] } }),
      guard,
    ], ["null-condition!"]],
    ["an administrator under conditions on keys that requests may have", [
      ...whole,
      allow(
        ["kms:DescribeKey"],
        {
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
        },
      ),
    ], []],
    ["keys that nearly are ones that requests may have", [
      ...whole,
      allow(["kms:DescribeKey"], { StringEquals: { "aws:PrincipalTag": ["x"] } }),
      allow(["kms:DescribeKey"], { StringEquals: { "kms.RecipientAttestation:PCR0": ["x"] } }, { Sid: "B" }),
    ], ["unknown-condition-key!"]],
    ["Decrypt under a key that KMS may have since", [
      allow(["kms:Decrypt"], { StringEquals: { "aws:New": ["x"] } }),
    ], [
      "unattested-use!",
      "unknown-condition-key",
    ], { ...reviewed, accepted: ["unknown-condition-key"] }],
    ["a service, attested", [{ ...good, Principal: { Service: ["ec2.amazonaws.com"] } }, guard], [
      "allows-nobody!",
    ]],
    ["a service beside the parent, attested", [
      { ...good, Principal: { Service: ["ec2.amazonaws.com"], AWS: [PARENT] } },
      guard,
    ], []],
    ["requests through a service alone, attested", [
      allow(USE, { ...attested, StringEquals: { "kms:ViaService": ["s3.us-east-1.amazonaws.com"] } }),
      guard,
    ], ["allows-nobody!"]],
    ["a misspelt action beside another, attested", [
      allow(["kms:Decypt", "kms:GenerateDataKey"], attested),
      guard,
    ], ["unknown-action!"]],
    ["an alias as Resource", [{ ...good, Resource: [ALIAS] }, guard], ["other-resource!"]],
    ["an alias as Resource of the guard", [good, { ...guard, Resource: [ALIAS] }], [
      "no-guard",
      "other-resource!",
    ]],
    ["all aliases as Resource", [{ ...good, Resource: [ALIAS.replace("mine", "*")] }, guard], [
      "other-resource!",
    ]],
    ["another service's Resource", [{ ...good, Resource: ["arn:aws:s3:::*"] }, guard], ["other-resource!"]],
    ["an alias beside the key", [{ ...good, Resource: ["*", ALIAS] }, guard], []],
    ["a key's ARN as Resource", [{ ...good, Resource: [KEY] }, guard], ["resource-by-arn"]],
    ["a key's ARN as Resource of a Deny", [...whole, { ...deny(USE), Resource: [KEY] }], [
      "deny-refuses-build!",
      "resource-by-arn",
    ]],
    ["a key's ARN as Resource of the guard", [good, { ...guard, Resource: [KEY] }], [
      "no-guard",
      "resource-by-arn",
    ]],
    // What denies nothing of the key takes nothing away, and refuses no build.
    ["an alias as Resource of a Deny", [...whole, { ...deny(USE), Resource: [ALIAS] }], ["other-resource!"]],
    ["CreateGrant, and a Deny of it for an alias", [
      ...whole,
      allow(["kms:CreateGrant"]),
      { ...deny(["kms:CreateGrant"]), Resource: [ALIAS] },
    ], ["create-grant!", "other-resource!"]],
    ["CreateGrant, and a Deny of it for a key by its ARN", [
      ...whole,
      allow(["kms:CreateGrant"]),
      { ...deny(["kms:CreateGrant"]), Resource: [KEY] },
    ], ["create-grant!", "resource-by-arn"]],
    ["a Deny for all but an alias", [
      ...whole,
      { Effect: "Deny", Principal: "*", Action: USE, NotResource: [ALIAS] },
    ], ["deny-refuses-build!"]],
    ["the parent as issuer of session keys", [...whole, sessionKeyStatement([PARENT])], ["parent-issues"]],
    ["a session of the parent as issuer", [...whole, sessionKeyStatement([SESSION])], ["parent-issues"]],
    ["the parent's account as issuer", [...whole, sessionKeyStatement([ROOT])], ["parent-issues"]],
    ["the account as issuer, and a Deny for the parent", [
      ...whole,
      sessionKeyStatement([ROOT]),
      deny(["kms:Encrypt"], undefined, { Principal: { AWS: [PARENT] } }),
    ], []],
    ["another issuer", [...whole, sessionKeyStatement([ADMIN])], []],
    ["the user of an Allow as issuer, with no parent named", [...whole, sessionKeyStatement([PARENT])], [
      "parent-issues",
    ], { reviewed: [ADMIN] }],
    ["PutKeyPolicy for a reviewed session of the parent", [...whole, putKeyPolicy(SESSION)], [
      "put-key-policy!",
    ], { reviewed: [ADMIN, SESSION], parents: [PARENT] }],
    ["PutKeyPolicy for the reviewed role of a parent's session", [guard, putKeyPolicy(PARENT)], [
      "put-key-policy!",
    ], { reviewed: [ADMIN, PARENT], parents: [SESSION] }],
    ["PutKeyPolicy for the user of an Allow, reviewed, with no parent named", [
      ...whole,
      putKeyPolicy(PARENT),
    ], [
      "put-key-policy!",
    ], { reviewed: [ADMIN, PARENT] }],
    ["PutKeyPolicy for a session of the reviewed administrator", [...whole, putKeyPolicy(ADMIN_SESSION)], [
      "administrator",
    ]],
    ["PutKeyPolicy for a role of which a session was reviewed", [guard, putKeyPolicy(OTHER_ROLE)], [
      "put-key-policy!",
    ], { reviewed: [ADMIN, sessionOf("Other")] }],
    ["CreateGrant, and a Deny of it to a session", [
      ...whole,
      allow(["kms:CreateGrant"]),
      deny(["kms:CreateGrant"], undefined, { Principal: { AWS: [SESSION] } }),
    ], ["create-grant!"]],
    ["CreateGrant for a session, and a Deny of it to the role", [
      ...whole,
      allow(["kms:CreateGrant"], undefined, { Principal: { AWS: [SESSION] } }),
      deny(["kms:CreateGrant"], undefined, { Principal: { AWS: [PARENT] } }),
    ], []],
    ["a Deny that locks out by Null", [...whole, deny(["kms:Put*"], { Null: { [pcr(0)]: ["true"] } })], [
      "deny-locks-out!",
    ]],
    ["a failing rule, accepted", [...whole, allow(["kms:Encrypt"])], ["encrypt"], {
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

for (const [name, statements, expected, options] of CASES) {
  Deno.test(`lint: ${name}`, () => {
    assertEquals(found(policyOf(...statements), options), [...expected].sort());
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
    ...CASES.flatMap(([, , rules]) => rules.map((rule) => rule.replace("!", ""))),
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
