/**
 * What a key policy lets happen: which builds it admits, and who keeps the right to change it.
 *
 * The KMS emulator evaluates policies in its own way (`lib/dev/kms_emulator/policy.ts`), request by request as
 * KMS does. This module, `denials.ts` and the linter share the parser with it and nothing else, so that
 * each is a check of the other.
 *
 * @module
 */
import { actionsOf, ATTESTED_USE, hasWildcard } from "./actions.ts";
import { attestationConditions, conditionsOf, needsDocument, pinnedRegisters } from "./conditions.ts";
import { denialsOf, guardsAmong, isAboutTheKey, refusalsOf } from "./denials.ts";
import { foldCase, type KeyPolicy, type KeyPolicyStatement, statementName } from "../aws/key_policy.ts";
import type { Measurements } from "./measurements.ts";
import { covers, isSamePrincipal, isSession, principalsOf } from "./principals.ts";

/** How a statement does not fit a build. */
interface Difference {
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
function measuredRegisters(measurements: Measurements): ReadonlyMap<number, string> {
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
    all.flatMap(([index, value]) => (value === undefined ? [] : [[index, foldCase(value)]])),
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
    if (
      statement.Effect !== "Allow" || !actionsOf(statement).has("Decrypt") ||
      isAboutTheKey(statement) === false
    ) continue;
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
  const denials = denialsOf(policy);
  const refusing = guardsAmong(denials).filter(({ actions, builds }) =>
    actions.has("Decrypt") && !builds.has(foldCase(measurements.pcr0))
  );
  for (const { statement, builds } of refusing) {
    differences.push({
      statement,
      pcr: 0,
      wanted: [...builds],
      measured: foldCase(measurements.pcr0),
    });
  }
  const allows = attestedAllows(policy).map(({ statement }) => statement);
  const use = {
    users: allows.flatMap(principalsOf),
    actions: new Set(allows.flatMap((statement) => [...actionsOf(statement)])),
  };
  const refusedBy = refusalsOf(denials, measured, use)
    .filter(({ isGuard, dependsOn }) => !isGuard && dependsOn.length === 0)
    .map(({ statement }) => statement);
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
    if (statement.Effect !== "Allow" || isAboutTheKey(statement) === false) return [];
    const conditions = attestationConditions(statement);
    const actions = actionsOf(statement);
    return conditions.some(needsDocument) && ATTESTED_USE.some((action) => actions.has(action))
      ? [{ index, statement, pins: pinnedRegisters(conditions) }]
      : [];
  });
}

/**
 * Why somebody could no longer change a policy that is in force; undefined when they can. Statements with conditions are assumed to
 * act against the caller: an Allow with one does not count, a Deny with one does.
 *
 * @param callerArn as STS names it
 */
export function lockedOut(policy: KeyPolicy, callerArn: string): string | undefined {
  const means = (principal: string) => covers(principal, callerArn);
  for (const [index, statement] of policy.Statement.entries()) {
    if (statement.Effect !== "Deny" || !actionsOf(statement).has("PutKeyPolicy")) continue;
    // Another session of the same role, and what cannot be told apart from the caller, count too.
    const mayMean = (principal: string) =>
      means(principal) || hasWildcard(principal) || isSamePrincipal(principal, callerArn);
    if (statement.NotPrincipal !== undefined || principalsOf(statement).some(mayMean)) {
      return `the Deny ${statementName(statement, index)} may refuse kms:PutKeyPolicy to ${callerArn}`;
    }
  }
  const keeps = policy.Statement.some((statement) =>
    statement.Effect === "Allow" && conditionsOf(statement).length === 0 &&
    isAboutTheKey(statement) === true &&
    statement.Principal !== undefined && actionsOf(statement).has("PutKeyPolicy") &&
    // The session's name changes at the next login.
    principalsOf(statement).some((principal) => means(principal) && !isSession(principal))
  );
  return keeps ? undefined : `no statement allows kms:PutKeyPolicy to ${callerArn}`;
}
