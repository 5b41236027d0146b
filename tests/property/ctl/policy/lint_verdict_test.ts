/**
 * The linter and the KMS emulator's evaluator check each other: a policy that the linter calls ok lets the
 * enclaves of its builds use the key, and nobody else.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  formatKeyPolicy,
  type KeyPolicy,
  type KeyPolicyStatement,
} from "../../../../lib/ctl/aws/key_policy.ts";
import {
  evaluatePolicy,
  type KeyPolicy as EvaluatedPolicy,
  parseCaller,
  parseKeyPolicy,
} from "../../../../lib/dev/kms_emulator/policy.ts";
import { lintKeyPolicy } from "../../../../lib/ctl/policy/lint.ts";
import type { Measurements } from "../../../../lib/ctl/policy/measurements.ts";
import {
  A,
  ACCOUNT,
  B,
  build,
  ISSUER,
  KEY,
  lintOptions,
  LISTED,
  OTHER,
  PARENT,
  policies,
  ROOT,
  session,
  STRANGER,
  ZERO,
} from "../../../fixtures/twisted_policies.ts";
import { count } from "../../../helpers/effort.ts";

/** Images of somebody else on the same parent: with a listed kernel or application, in debug mode. */
const FOREIGN: readonly Measurements[] = [
  build("c", "c8"),
  { ...build("c", "c8"), pcr1: A.pcr1 },
  { ...build("c", "c8"), pcr2: A.pcr2 },
  { ...build("c", "c8"), pcr0: ZERO, pcr1: ZERO, pcr2: ZERO, pcr8: ZERO },
];

/** Images that cannot exist, since PCR0 is that of the whole image. A policy that pins it all admits none. */
const MIXED: readonly Measurements[] = [
  { ...A, pcr1: B.pcr1 },
  { ...A, pcr2: B.pcr2 },
  { ...B, pcr1: A.pcr1 },
  { ...B, pcr0: A.pcr0 },
];
/** Warnings about policies that do not pin the whole image. */
const LESS_THAN_ALL = ["pcr0-alone", "pcr0-missing", "pcr8-alone", "relies-on-deny"];

/** What is in the request of a caller: the document's registers, and the EncryptionContext. */
function request(
  caller: string,
  document: Measurements | undefined,
  context: Readonly<Record<string, string>>,
): ReadonlyMap<string, readonly string[]> {
  const values = new Map<string, string[]>([
    ["kms:calleraccount", [caller.split(":")[4] ?? ""]],
    ["aws:principalarn", [caller]],
    ["aws:securetransport", ["true"]],
    ["kms:encryptionalgorithm", ["SYMMETRIC_DEFAULT"]],
    ["kms:encryptioncontextkeys", Object.keys(context)],
  ]);
  for (const [name, value] of Object.entries(context)) {
    const key = `kms:encryptioncontext:${name.toLowerCase()}`;
    values.set(key, [...values.get(key) ?? [], value]);
  }
  for (let index = 0; document !== undefined && index < 16; index++) {
    const value = document[`pcr${index}` as keyof Measurements] ?? ZERO;
    values.set(`kms:recipientattestation:pcr${index}`, [value]);
    if (index === 0) values.set("kms:recipientattestation:imagesha384", [value]);
  }
  return values;
}

const TSK = { app: "denclave", purpose: "tsk" };
function allows(
  policy: EvaluatedPolicy,
  caller: string,
  action: string,
  document?: Measurements,
  context: Readonly<Record<string, string>> = TSK,
): boolean {
  return evaluatePolicy(policy, {
    caller: parseCaller(caller),
    action: `kms:${action}`,
    resource: KEY,
    values: request(caller, document, context),
  }).allowed;
}

const registerMeant = (key: string) =>
  /imagesha384$/i.test(key) ? 0 : Number(/pcr([0-9o]+)$/i.exec(key)?.[1]?.replace(/o/i, "0") ?? NaN);

/** Whether an Allow says in its text that it lets the parent's enclave of a build decrypt. */
function lists(given: KeyPolicyStatement, measured: Measurements): boolean {
  const { Effect, Principal, Action = [], Resource = [], Condition = {} } = given;
  // Whoever writes an alias means the key.
  const isMeant = Resource.some((name) => name === "*" || name.includes("alias/"));
  if (Effect !== "Allow" || !isMeant || !Action.some((one) => /:decrypt$/i.test(one))) {
    return false;
  }
  const named = JSON.stringify(Principal ?? "");
  const meant = [PARENT, session("Parent", "emulator"), ROOT, ACCOUNT, "*", "ec2.amazonaws.com"];
  if (!meant.some((one) => named.includes(`"${one}"`))) return false;
  const entries = Object.entries(Condition).flatMap(([operator, block]) =>
    Object.entries(block).map(([key, listed]) => [operator, key, listed] as const)
  );
  return entries.some(([, key]) => registerMeant(key) === 0) && entries.every(([operator, key, listed]) => {
    // Of what the enclave's requests have, or not, a policy's author need not think.
    if (/viaservice$|securetransport$/i.test(key)) return true;
    const value = measured[`pcr${registerMeant(key)}` as keyof Measurements];
    if (value === undefined) return false;
    // In upper case under an operator that looks at the case, a build has a warning.
    const isExact = !operator.includes("IgnoreCase");
    return listed.some((one) => (isExact ? one : one.toLowerCase()) === value);
  });
}

/** Whether any statement names a register of a build. */
function mentions(policy: KeyPolicy, { pcr0, pcr1, pcr2, pcr8 = "" }: Measurements): boolean {
  const text = JSON.stringify(policy).toLowerCase();
  return [pcr0, pcr1, pcr2, pcr8].some((value) => text.includes(value));
}

/** Whether an Allow lists these very registers: it has one list of several values at most. */
function listsAsOne(policy: KeyPolicy, mixture: Measurements): boolean {
  return policy.Statement.some((one) => {
    const listed = Object.values(one.Condition ?? {}).flatMap((block) => Object.values(block));
    return lists(one, mixture) && listed.filter(({ length }) => length > 1).length < 2;
  });
}

const USE = ["Decrypt", "GenerateDataKey", "GenerateDataKeyPair", "DeriveSharedSecret"];
const ADMINISTRATION = ["PutKeyPolicy", "CreateGrant", "ReplicateKey", "ImportKeyMaterial", "UpdateAlias"];
const ROWS = [
  { app: "denclave", purpose: "wallet" },
  { app: "denclave", purpose: "wallet", Purpose: "tsk" },
  {},
];

/** What somebody may do who should not. */
function wrong(
  policy: KeyPolicy,
  evaluated: EvaluatedPolicy,
  rules: readonly string[],
): string | undefined {
  const images = [
    ...FOREIGN,
    ...LISTED.filter((image) => !mentions(policy, image)),
    ...(rules.some((rule) => LESS_THAN_ALL.includes(rule))
      ? []
      : MIXED.filter((image) => !listsAsOne(policy, image))),
  ];
  for (const caller of [PARENT, OTHER, ISSUER, STRANGER]) {
    for (const action of USE) {
      if (allows(evaluated, caller, action)) return `${caller} may ${action} without a document`;
      // No policy is about the stranger's account.
      for (const image of caller === STRANGER ? [...images, ...LISTED] : images) {
        if (allows(evaluated, caller, action, image)) {
          return `${caller} may ${action} with the document of ${image.pcr0}`;
        }
      }
    }
    for (const action of [...ADMINISTRATION, "ReEncryptFrom", "ReEncryptTo"]) {
      if (allows(evaluated, caller, action)) return `${caller} may ${action}`;
    }
    for (const context of ROWS) {
      if (allows(evaluated, caller, "Encrypt", undefined, context)) {
        return `${caller} may Encrypt under ${JSON.stringify(context)}`;
      }
    }
  }
  return undefined;
}

/** The build that an Allow lists, and that may not decrypt. */
function lockedOut(policy: KeyPolicy, evaluated: EvaluatedPolicy): string | undefined {
  const out = LISTED.find((image) =>
    policy.Statement.some((one) => lists(one, image)) && !allows(evaluated, PARENT, "Decrypt", image)
  );
  return out === undefined ? undefined : `the enclave with PCR0 ${out.pcr0} is locked out`;
}

Deno.test("a policy that the linter calls ok lets the enclaves of its builds use the key, and nobody else", () => {
  const seen = { ok: 0, refused: 0, listing: 0 };
  fc.assert(
    fc.property(policies, lintOptions, (policy, options) => {
      const { ok, findings } = lintKeyPolicy(policy, options);
      if (!ok) return void seen.refused++;
      seen.ok++;
      const rules = findings.map(({ rule }) => rule);
      const evaluated = parseKeyPolicy(formatKeyPolicy(policy));
      const fault = wrong(policy, evaluated, rules) ??
        // The linter says that it cannot tell.
        (rules.includes("deny-depends") ? undefined : lockedOut(policy, evaluated));
      assert(fault === undefined, `${fault}; the linter said ${JSON.stringify(rules)}`);
      if (LISTED.some((image) => policy.Statement.some((one) => lists(one, image)))) seen.listing++;
    }),
    { numRuns: count(20_000, 1_000) },
  );
  // Both verdicts are tried often.
  assertEquals([seen.ok > 200, seen.refused > 200, seen.listing > 200], [true, true, true]);
});
