/**
 * What a key policy lets happen: what its Deny statements take away, which builds it admits, and who keeps the right to change it.
 *
 * The KMS emulator evaluates policies in its own way (`lib/kms_emulator/policy.ts`), request by request as KMS does. The two share the parser and nothing
 * else, so that each is a check of the other.
 *
 * @module
 */
import { actionsOf, ATTESTED_USE, type KmsAction } from "./actions.ts";
import {
  type AttestationCondition,
  attestationConditions,
  isExact,
  isNegated,
  needsDocument,
  pinnedRegisters,
  usableValues,
} from "./conditions.ts";
import { type KeyPolicy, type KeyPolicyStatement, statementName } from "../../aws/key_policy.ts";
import type { Measurements } from "./measurements.ts";
import { accountOf, EVERYONE, isCaller, isSamePrincipal, principalsOf } from "./principals.ts";

/** Whether a statement is about the key whatever its ARN is. */
function isAboutTheKey({ Resource, NotResource }: KeyPolicyStatement): boolean {
  return NotResource === undefined && (Resource ?? []).includes("*");
}

/** What a Deny takes away, and from whom. */
export interface Denial {
  readonly actions: ReadonlySet<KmsAction>;
  readonly isForEveryone: boolean;
  readonly principals: readonly string[];
}

/** The actions that Denies take from a principal: all of them, or (of guards) all without the document of a listed build. */
export function takenFrom(denials: readonly Denial[], principal: string): ReadonlySet<KmsAction> {
  return new Set(
    denials.filter(({ isForEveryone, principals }) =>
      isForEveryone || principals.some((denied) => isSamePrincipal(denied, principal))
    ).flatMap(({ actions }) => [...actions]),
  );
}

/** The Deny statements without conditions. Those that exempt a principal do not count. */
export function denialsOf(policy: KeyPolicy): readonly Denial[] {
  return policy.Statement.filter((statement) =>
    statement.Effect === "Deny" && statement.Condition === undefined && isAboutTheKey(statement) &&
    statement.NotPrincipal === undefined
  ).map((statement) => {
    const principals = principalsOf(statement);
    return { actions: actionsOf(statement), isForEveryone: principals.includes(EVERYONE), principals };
  });
}

/** A Deny that keeps all but a list of builds from using the key. */
export interface Guard extends Denial {
  readonly statement: string;
  readonly index: number;
  /** PCR0 of the builds, lower case. */
  readonly builds: ReadonlySet<string>;
}

/** The statement's builds, when it is a Deny with nothing but one negated condition on PCR0. */
function guardedBuilds(statement: KeyPolicyStatement): ReadonlySet<string> | undefined {
  const conditions = attestationConditions(statement);
  const [condition] = conditions;
  const keys = Object.values(statement.Condition ?? {}).flatMap((entry) => Object.keys(entry));
  if (
    statement.Effect !== "Deny" || condition === undefined || keys.length !== 1 || !isNegated(condition) ||
    condition.qualifier === "any" || condition.register.kind !== "pcr" || condition.register.index !== 0
  ) return undefined;
  if (condition.base === "stringnotlike" && condition.values.some((value) => /[*?]/.test(value))) {
    return undefined;
  }
  const builds = new Set(usableValues(condition));
  // The linter reports values that are not measurements. A Deny that permits all-zero PCRs protects nothing.
  return builds.size === new Set(condition.values.map((value) => value.toLowerCase())).size
    ? builds
    : undefined;
}

/** The guards of a policy. */
export function guardsOf(policy: KeyPolicy): readonly Guard[] {
  return policy.Statement.flatMap((statement, index) => {
    const builds = guardedBuilds(statement);
    if (builds === undefined || !isAboutTheKey(statement) || statement.NotPrincipal !== undefined) return [];
    const principals = principalsOf(statement);
    return [{
      statement: statementName(statement, index),
      index,
      actions: actionsOf(statement),
      builds,
      isForEveryone: principals.includes(EVERYONE),
      principals,
    }];
  });
}

/** Whether one condition of a Deny holds for a request with the document of a build; what is not known may hold. */
function mayHold(condition: AttestationCondition, measured: ReadonlyMap<number, string>): boolean {
  const { register, base, values } = condition;
  const exact = isExact(condition);
  // With a document every register of the kind is there.
  if (base === "null") return values.some((value) => value.toLowerCase() === "false");
  if (register.kind !== "pcr" || values.some((value) => /[*?]/.test(value))) return true;
  const value = measured.get(register.index);
  if (value === undefined) return true;
  const listed = values.some((each) => (exact ? each : each.toLowerCase()) === value);
  return isNegated(condition) ? !listed : listed;
}

/**
 * Deny statements, other than guards on PCR0, that may refuse a build the use of the key. Those with conditions on something else than attestation are left
 * alone: what they look at is not in the measurements.
 */
export function denialsOfBuild(policy: KeyPolicy, measured: ReadonlyMap<number, string>): readonly string[] {
  const users = attestedAllows(policy).flatMap(({ statement }) => principalsOf(statement));
  return policy.Statement.flatMap((statement, index) => {
    if (statement.Effect !== "Deny" || !isAboutTheKey(statement) || guardedBuilds(statement) !== undefined) {
      return [];
    }
    const actions = actionsOf(statement);
    if (!ATTESTED_USE.some((action) => actions.has(action))) return [];
    const principals = principalsOf(statement);
    const concerned = statement.NotPrincipal !== undefined || principals.includes(EVERYONE) ||
      principals.some((denied) => users.some((user) => isSamePrincipal(denied, user)));
    const keys = Object.values(statement.Condition ?? {}).flatMap((entry) => Object.keys(entry));
    const conditions = attestationConditions(statement);
    if (!concerned || keys.length !== conditions.length) return [];
    return conditions.every((condition) => mayHold(condition, measured))
      ? [statementName(statement, index)]
      : [];
  });
}

/** How a statement does not fit a build. */
export interface Difference {
  readonly statement: string;
  readonly pcr: number;
  readonly wanted: readonly string[];
  readonly measured: string;
}

/** Whether a policy lets a build use the key. */
export interface Admission {
  readonly admitted: boolean;
  /** Where not: what the nearest statements want. */
  readonly differences: readonly Difference[];
  /** Statements that let everyone whom they name use the key, without a document. */
  readonly unattested: readonly string[];
  /** Deny statements, other than guards on PCR0, that may refuse it. */
  readonly refusedBy: readonly string[];
  /** Statements that pin registers which these measurements do not have, such as PCR3. */
  readonly unknown: readonly { readonly statement: string; readonly pcr: number }[];
}

/** The measurements by register. */
export function measuredRegisters(measurements: Measurements): ReadonlyMap<number, string> {
  const { pcr0, pcr1, pcr2, pcr3, pcr4, pcr8 } = measurements;
  const all: readonly (readonly [number, string | undefined])[] = [
    [0, pcr0],
    [1, pcr1],
    [2, pcr2],
    [3, pcr3],
    [4, pcr4],
    [8, pcr8],
  ];
  return new Map(
    all.flatMap(([index, value]) => (value === undefined ? [] : [[index, value.toLowerCase()]])),
  );
}

/** Whether a policy lets an enclave with these measurements decrypt. */
export function admission(policy: KeyPolicy, measurements: Measurements): Admission {
  const measured = measuredRegisters(measurements);
  const differences: Difference[] = [];
  const unattested: string[] = [];
  const unknown: { statement: string; pcr: number }[] = [];
  let allowed = false;
  for (const [index, statement] of policy.Statement.entries()) {
    if (statement.Effect !== "Allow" || !actionsOf(statement).has("Decrypt")) continue;
    const name = statementName(statement, index);
    const conditions = attestationConditions(statement);
    if (!conditions.some(needsDocument)) {
      unattested.push(name);
      continue;
    }
    const pins = [...pinnedRegisters(conditions)];
    const wrong = pins.flatMap(([pcr, wanted]) => {
      const value = measured.get(pcr);
      return value === undefined || wanted.has(value)
        ? []
        : [{ statement: name, pcr, wanted: [...wanted], measured: value }];
    });
    if (wrong.length > 0 || pins.length === 0) {
      differences.push(...wrong);
      continue;
    }
    allowed = true;
    unknown.push(
      ...pins.filter(([pcr]) => !measured.has(pcr)).map(([pcr]) => ({ statement: name, pcr })),
    );
  }
  const refusing = guardsOf(policy).filter(({ actions, builds }) =>
    actions.has("Decrypt") && !builds.has(measurements.pcr0.toLowerCase())
  );
  for (const { statement, builds } of refusing) {
    differences.push({
      statement,
      pcr: 0,
      wanted: [...builds],
      measured: measurements.pcr0.toLowerCase(),
    });
  }
  const refusedBy = denialsOfBuild(policy, measured);
  const admitted = allowed && refusing.length === 0 && refusedBy.length === 0;
  return { admitted, differences, unattested, refusedBy, unknown };
}

/** Whether a policy has a statement that lets a document's holder use the key. */
export function attestedAllows(policy: KeyPolicy): readonly {
  readonly index: number;
  readonly statement: KeyPolicyStatement;
  readonly pins: ReadonlyMap<number, ReadonlySet<string>>;
}[] {
  return policy.Statement.flatMap((statement, index) => {
    if (statement.Effect !== "Allow") return [];
    const conditions = attestationConditions(statement);
    const actions = actionsOf(statement);
    return conditions.some(needsDocument) && ATTESTED_USE.some((action) => actions.has(action))
      ? [{ index, statement, pins: pinnedRegisters(conditions) }]
      : [];
  });
}

/** The name of the role of a session, or of a role; the ARN itself for what is neither. */
function roleOf(arn: string): string {
  const [, account, name] =
    /^arn:aws[a-z-]*:(?:iam|sts)::([0-9]{12}):(?:assumed-role\/|role\/(?:.*\/)?)([^/]+)/.exec(arn) ?? [];
  return account === undefined || name === undefined ? arn : `${account}/${name}`;
}

/**
 * Why somebody could no longer change a policy that is in force; undefined when they can. Statements with conditions are assumed to
 * act against the caller: an Allow with one does not count, a Deny with one does.
 *
 * @param callerArn as STS names it
 */
export function lockedOut(policy: KeyPolicy, callerArn: string): string | undefined {
  const account = /^arn:aws[a-z-]*:(?:iam|sts)::([0-9]{12}):/.exec(callerArn)?.[1];
  const means = (principal: string) =>
    principal === EVERYONE || isCaller(principal, callerArn) ||
    (account !== undefined && accountOf(principal) === account);
  for (const [index, statement] of policy.Statement.entries()) {
    if (statement.Effect !== "Deny" || !actionsOf(statement).has("PutKeyPolicy")) continue;
    // Another session of the same role, and what cannot be told apart from the caller, count too.
    const mayMean = (principal: string) =>
      means(principal) || /[*?]/.test(principal) || roleOf(principal) === roleOf(callerArn);
    if (statement.NotPrincipal !== undefined || principalsOf(statement).some(mayMean)) {
      return `the Deny ${statementName(statement, index)} may refuse kms:PutKeyPolicy to ${callerArn}`;
    }
  }
  const keeps = policy.Statement.some((statement) =>
    statement.Effect === "Allow" && statement.Condition === undefined && isAboutTheKey(statement) &&
    statement.Principal !== undefined && actionsOf(statement).has("PutKeyPolicy") &&
    // The session's name changes at the next login.
    principalsOf(statement).some((principal) => means(principal) && !principal.includes(":assumed-role/"))
  );
  return keeps ? undefined : `no statement allows kms:PutKeyPolicy to ${callerArn}`;
}
