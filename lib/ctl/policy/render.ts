/**
 * Key policies for an enclave: written, and taken from one build to the next. One Allow for each build, so that the registers of two builds
 * never mix; a guarding Deny that holds whatever else is allowed; administrators who may not use the key.
 *
 * @module
 */
import { isPrincipalArn, PRINCIPAL_FORM } from "../../shared/aws/principal_arn.ts";
import { formatKeyPolicy, type KeyPolicy, type KeyPolicyStatement } from "../aws/key_policy.ts";
import { ATTESTED_USE } from "./actions.ts";
import { denialsOf, guardsAmong } from "./denials.ts";
import { PolicyError } from "./errors.ts";
import { admission, attestedAllows } from "./evaluate.ts";
import { type Measurements, registersOf } from "./measurements.ts";
import { EVERYONE, isSamePrincipal } from "./principals.ts";
import { sessionKeyStatement } from "./session_key_statement.ts";
import { type Statement, statementsOf } from "./statements.ts";

/** How the statements of builds are written. */
interface BuildStatementOptions {
  /** ARNs of the roles of the instances that the enclave runs on. */
  readonly parents: readonly string[];
  /** Add ImageSha384, which is PCR0 by another name. */
  readonly imageSha384?: boolean;
  /** Allow GenerateRandom too, with the same conditions. It uses no key: what counts for it is the role's IAM policy. */
  readonly generateRandom?: boolean;
}

/** What a policy is made from. */
interface RenderOptions extends BuildStatementOptions {
  readonly builds: readonly Measurements[];
  /** ARNs of the roles and users that administer the key. */
  readonly administrators: readonly string[];
  /** ARNs of the roles that may wrap session keys. */
  readonly issuers?: readonly string[];
  /** Let the parents read state and policy of the key: for host doctor. */
  readonly inspect?: boolean;
}

const PREFIX = "kms:RecipientAttestation:";
const GUARD_SID = "OnlyTheseBuilds";

/** Nothing that uses the key, makes a grant, or copies it. */
const ADMINISTRATION = [
  "kms:DescribeKey",
  "kms:GetKeyPolicy",
  "kms:PutKeyPolicy",
  "kms:ListKeyPolicies",
  "kms:GetKeyRotationStatus",
  "kms:EnableKeyRotation",
  "kms:DisableKeyRotation",
  "kms:RotateKeyOnDemand",
  "kms:ListKeyRotations",
  "kms:EnableKey",
  "kms:DisableKey",
  "kms:UpdateKeyDescription",
  "kms:ListGrants",
  "kms:RevokeGrant",
  "kms:ListResourceTags",
  "kms:TagResource",
  "kms:UntagResource",
  "kms:ScheduleKeyDeletion",
  "kms:CancelKeyDeletion",
];

function refused(message: string, hint: string): PolicyError {
  return new PolicyError(message, { code: "policy_refused", hint });
}

function checkPrincipals(arns: readonly string[], what: string): void {
  if (arns.length === 0) {
    throw refused(`Cannot write a key policy without ${what}`, "Give the ARN of a role.");
  }
  const wrong = arns.find((arn) => !isPrincipalArn(arn));
  if (wrong === undefined) return;
  throw refused(
    `Cannot use ${JSON.stringify(wrong.slice(0, 128))} as ${what}`,
    `Give ${PRINCIPAL_FORM}.`,
  );
}

/** The condition keys of a build, with their values. */
function pinsOf(build: Measurements, { imageSha384 = false }: BuildStatementOptions) {
  const named = registersOf(build).map(([index, value]) => [`PCR${index}`, value] as const);
  const all = imageSha384 ? [["ImageSha384", build.pcr0.toLowerCase()] as const, ...named] : named;
  return Object.fromEntries(all.map(([name, value]) => [`${PREFIX}${name}`, [value]]));
}

/** The Allow for one build. */
function buildStatement(
  build: Measurements,
  sids: ReadonlySet<string>,
  options: BuildStatementOptions,
): KeyPolicyStatement {
  const base = `EnclaveBuild${build.pcr0.slice(0, 16).toLowerCase()}`;
  let sid = base;
  // The same image may be allowed under several roles or on several instances.
  for (let number = 2; sids.has(sid); number++) sid = `${base}n${number}`;
  return {
    Sid: sid,
    Effect: "Allow",
    Principal: { AWS: options.parents },
    Action: [
      "kms:Decrypt",
      "kms:GenerateDataKey",
      ...(options.generateRandom === true ? ["kms:GenerateRandom"] : []),
    ],
    Resource: ["*"],
    Condition: { StringEqualsIgnoreCase: pinsOf(build, options) },
  };
}

function guardStatement(builds: readonly string[]): KeyPolicyStatement {
  return {
    Sid: GUARD_SID,
    Effect: "Deny",
    Principal: { AWS: ["*"] },
    Action: ATTESTED_USE.map((action) => `kms:${action}`),
    Resource: ["*"],
    Condition: { StringNotEqualsIgnoreCase: { [`${PREFIX}PCR0`]: [...new Set(builds)] } },
  };
}

function sidsOf(statements: readonly KeyPolicyStatement[]): ReadonlySet<string> {
  return new Set(statements.flatMap(({ Sid }) => (Sid === undefined ? [] : [Sid])));
}

function sized(policy: KeyPolicy): KeyPolicy {
  formatKeyPolicy(policy);
  return policy;
}

/**
 * Writes a key policy.
 *
 * @throws {PolicyError} `policy_refused` without a build, a parent or an administrator, or when a parent is an administrator;
 * {@link KeyPolicyError} `policy_too_large`.
 */
export function renderKeyPolicy(options: RenderOptions): KeyPolicy {
  const { builds, parents, administrators, issuers = [], inspect = false } = options;
  if (builds.length === 0) throw refused("Cannot write a key policy without a build", "Give measurements.");
  checkPrincipals(parents, "the parent's role");
  checkPrincipals(administrators, "an administrator");
  if (issuers.length > 0) checkPrincipals(issuers, "an issuer of session keys");
  const roles = [
    [
      administrators,
      "administrator",
      "An attacker on the parent could change the policy: let another role administer the key.",
    ],
    [
      issuers,
      "issuer of session keys",
      "Session keys belong to the owner of the data: a parent that wraps its own keys knows them.",
    ],
  ] as const;
  for (const [arns, role, hint] of roles) {
    const both = arns.find((arn) => parents.some((parent) => isSamePrincipal(parent, arn)));
    if (both !== undefined) throw refused(`Cannot make ${both} both parent and ${role}`, hint);
  }
  const statements: KeyPolicyStatement[] = [{
    Sid: "Administrators",
    Effect: "Allow",
    Principal: { AWS: administrators },
    Action: ADMINISTRATION,
    Resource: ["*"],
  }];
  if (inspect) {
    statements.push({
      Sid: "ParentsMayLook",
      Effect: "Allow",
      Principal: { AWS: parents },
      Action: ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"],
      Resource: ["*"],
    });
  }
  if (issuers.length > 0) statements.push(sessionKeyStatement(issuers));
  for (const build of uniqueBuilds(builds)) {
    statements.push(buildStatement(build, sidsOf(statements), options));
  }
  statements.push(guardStatement(builds.map(({ pcr0 }) => pcr0.toLowerCase())));
  return sized({ Version: "2012-10-17", Statement: statements });
}

function uniqueBuilds(builds: readonly Measurements[]): readonly Measurements[] {
  const seen = new Set<string>();
  return builds.filter((build) => {
    const key = registersOf(build).join(" ");
    return !seen.has(key) && seen.add(key);
  });
}

/** Replaces the values of every condition on a register, in one statement. */
function withValues(
  { source, attestation }: Statement,
  replace: (index: number, values: readonly string[]) => readonly string[],
): KeyPolicyStatement {
  const entries = Object.entries(source.Condition ?? {}).map(([operator, keys]) =>
    [
      operator,
      Object.fromEntries(
        Object.entries(keys).map(([key, values]) => {
          const found = attestation.find((one) => one.operator === operator && one.key === key);
          return found?.subject.kind === "pcr" ? [key, replace(found.subject.index, values)] : [key, values];
        }),
      ),
    ] as const
  );
  return entries.length === 0 ? source : { ...source, Condition: Object.fromEntries(entries) };
}

/**
 * Adds a build beside the existing ones, so that both can run: an Allow of its own, and its PCR0 in the guarding Denies. A policy
 * that admits it already comes back as it is.
 *
 * @throws {PolicyError} `policy_refused`
 * @throws {KeyPolicyError} `policy_too_large`
 */
export function rollOver(
  policy: KeyPolicy,
  build: Measurements,
  options: BuildStatementOptions,
): KeyPolicy {
  const pcr0 = build.pcr0.toLowerCase();
  const before = admission(policy, build);
  if (before.admitted && before.unknown.length === 0) return policy;
  checkPrincipals(options.parents, "the parent's role");
  const present = statementsOf(policy);
  const guards = guardsAmong(denialsOf(present));
  const statements = present.map((statement) =>
    guards.some((guard) => guard.index === statement.index && !guard.builds.has(pcr0))
      ? withValues(statement, (_register, values) => [...values, pcr0])
      : statement.source
  );
  const allows = attestedAllows(present);
  const added = buildStatement(build, sidsOf(statements), options);
  // After the existing builds, so that the list is in order.
  const last = allows.at(-1)?.index ?? statements.length - 1;
  statements.splice(last + 1, 0, added);
  const covered = ATTESTED_USE.every((action) =>
    guards.some((guard) => guard.principals.includes(EVERYONE) && guard.actions.has(action))
  );
  const known = allows.flatMap(({ pins }) => [...pins.get(0) ?? []]);
  // Where old builds are not known by PCR0, a guard on PCR0 would keep them out.
  if (!covered && guards.length === 0 && allows.every(({ pins }) => pins.has(0))) {
    statements.push(guardStatement([...known, pcr0]));
  }
  const rolled = { ...policy, Statement: statements };
  const { refusedBy } = admission(rolled, build);
  if (refusedBy.length > 0) {
    throw refused(
      `The policy would not admit the build: the Deny ${refusedBy.join(", ")} may refuse it`,
      "Remove that Deny, or write a new policy: denclavectl policy render.",
    );
  }
  return sized(rolled);
}

/** The parents that the builds of a policy are allowed for. */
export function parentsOf(policy: KeyPolicy): readonly string[] {
  const named = attestedAllows(statementsOf(policy)).flatMap(({ principals }) => principals);
  return [...new Set(named)].filter(isPrincipalArn);
}

/**
 * Drops all builds but those that are kept: Allows that admit none of them go, lists lose the other builds' values.
 *
 * @throws {PolicyError} `build_unknown` when a build that is kept is not admitted now: nothing would be left for it.
 */
export function finalise(policy: KeyPolicy, keep: readonly Measurements[]): KeyPolicy {
  const absent = keep.find((build) => !admission(policy, build).admitted);
  if (keep.length === 0 || absent !== undefined) {
    throw new PolicyError(
      absent === undefined
        ? "Cannot drop every build"
        : `The policy does not admit the build with PCR0 ${absent.pcr0.slice(0, 16)}…, which is to be kept`,
      {
        code: "build_unknown",
        hint: "Add it first: denclavectl policy rollover; then run it, then finalise.",
      },
    );
  }
  const kept = (index: number, given: readonly string[]) => {
    if (index > 2) return given;
    const wanted = new Set(keep.map((build) => new Map(registersOf(build)).get(index)));
    return given.filter((value) => wanted.has(value.toLowerCase()));
  };
  const present = statementsOf(policy);
  const guards = new Set(guardsAmong(denialsOf(present)).map(({ index }) => index));
  const allows = new Map(attestedAllows(present).map(({ index, pins }) => [index, pins]));
  const statements = present.flatMap((statement) => {
    if (guards.has(statement.index)) return [withValues(statement, kept)];
    const pins = allows.get(statement.index);
    if (pins === undefined) return [statement.source];
    const isKept = [...pins].every(([register, admitted]) =>
      kept(register, [...admitted]).length > 0 || admitted.size === 0
    );
    return isKept ? [withValues(statement, kept)] : [];
  });
  return sized({ ...policy, Statement: statements });
}
