/**
 * What a key policy lets happen: which builds it admits, and who keeps the right to change it.
 *
 * The KMS emulator evaluates policies in its own way (`lib/dev/kms_emulator/policy.ts`), request by request as
 * KMS does. This module, `denials.ts` and the linter share the parser with it and nothing else, so that
 * each is a check of the other.
 *
 * @module
 */
import { foldCase, type KeyPolicy } from "../aws/key_policy.ts";
import { ATTESTED_USE, hasWildcard } from "./actions.ts";
import { needsDocument, pinnedRegisters } from "./conditions.ts";
import { denialsOf, guardsAmong, refusalsOf } from "./denials.ts";
import { type Measurements, registersOf } from "./measurements.ts";
import { accountOf, covers, isNotAws, isSamePrincipal, isSession } from "./principals.ts";
import { type Statement, statementsOf } from "./statements.ts";

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

/** Whether a policy lets an enclave with these measurements decrypt. */
export function admission(policy: KeyPolicy, measurements: Measurements): Admission {
  const measured: ReadonlyMap<number, string> = new Map(registersOf(measurements));
  const statements = statementsOf(policy);
  const differences: Difference[] = [];
  const unattested: string[] = [];
  const unknown: { statement: string; pcr: number }[] = [];
  let allowed = false;
  for (const { name, source, actions, attestation, isAboutTheKey } of statements) {
    if (source.Effect !== "Allow" || !actions.has("Decrypt") || isAboutTheKey === false) continue;
    if (!attestation.some(needsDocument)) {
      unattested.push(name);
      continue;
    }
    const pins = [...pinnedRegisters(attestation)];
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
  const denials = denialsOf(statements);
  const pcr0 = foldCase(measurements.pcr0);
  const refusing = guardsAmong(denials).filter(({ actions, builds }) =>
    actions.has("Decrypt") && !builds.has(pcr0)
  );
  for (const { name, builds } of refusing) {
    differences.push({ statement: name, pcr: 0, wanted: [...builds], measured: pcr0 });
  }
  const allows = attestedAllows(statements);
  const use = {
    users: allows.flatMap(({ principals }) => principals),
    actions: new Set(allows.flatMap(({ actions }) => [...actions])),
  };
  const refusedBy = refusalsOf(denials, measured, use)
    .filter(({ isGuard, dependsOn }) => !isGuard && dependsOn.length === 0)
    .map(({ statement }) => statement);
  const admitted = allowed && refusing.length === 0 && refusedBy.length === 0;
  return { admitted, differences, unattested, refusedBy, unknown };
}

/** An Allow that lets a document's holder use the key. */
export interface AttestedAllow extends Statement {
  readonly pins: ReadonlyMap<number, ReadonlySet<string>>;
}

/** The Allows among statements that let a document's holder use the key. */
export function attestedAllows(statements: readonly Statement[]): readonly AttestedAllow[] {
  return statements.filter(({ source, actions, attestation, isAboutTheKey }) =>
    source.Effect === "Allow" && isAboutTheKey !== false && attestation.some(needsDocument) &&
    ATTESTED_USE.some((action) => actions.has(action))
  ).map((statement) => ({ ...statement, pins: pinnedRegisters(statement.attestation) }));
}

/**
 * Why somebody could no longer change a policy that is in force; undefined when they can. Statements with conditions are assumed to
 * act against the caller: an Allow with one does not count, a Deny with one does.
 *
 * @param callerArn as STS names it
 */
export function lockedOut(policy: KeyPolicy, callerArn: string): string | undefined {
  const means = (principal: string) => covers(principal, callerArn);
  // Another session of the same role, and what cannot be told apart from the caller, count too.
  const mayMean = (principal: string) =>
    means(principal) || hasWildcard(principal) || isSamePrincipal(principal, callerArn);
  const about = statementsOf(policy).filter(({ actions }) => actions.has("PutKeyPolicy"));
  const denying = about.find(({ source, principals }) =>
    source.Effect === "Deny" && (source.NotPrincipal !== undefined || principals.some(mayMean))
  );
  if (denying !== undefined) {
    return `the Deny ${denying.name} may refuse kms:PutKeyPolicy to ${callerArn}`;
  }
  const keeps = about.some(({ source, principals, conditions, isAboutTheKey }) =>
    source.Effect === "Allow" && conditions.length === 0 && isAboutTheKey === true &&
    source.Principal !== undefined &&
    // The session's name changes at the next login.
    principals.some((principal) => means(principal) && !isSession(principal))
  );
  return keeps ? undefined : `no statement allows kms:PutKeyPolicy to ${callerArn}`;
}

/** The principals that a policy lets change it again, without a condition. Denies are not taken into account. */
function administratorsOf(policy: KeyPolicy): readonly string[] {
  const allowing = statementsOf(policy).filter(({ source, actions, conditions, isAboutTheKey }) =>
    source.Effect === "Allow" && source.Principal !== undefined && conditions.length === 0 &&
    isAboutTheKey === true && actions.has("PutKeyPolicy")
  );
  const principals = allowing.flatMap(({ principals }) => principals);
  return [...new Set(principals.filter((one) => !isNotAws(one) && !isSession(one)))];
}

/** How a change of policy makes it likelier that nobody can change the policy later: one sentence for each way. */
export function lockOutRisks(before: KeyPolicy, after: KeyPolicy): readonly string[] {
  const administrators = administratorsOf(after);
  const hasAccount = (names: readonly string[]) => names.some((name) => accountOf(name) !== undefined);
  const alone = administrators.length === 1 && !hasAccount(administrators)
    ? [
      `${
        administrators[0]
      } alone may change this policy. If it is deleted, only AWS Support can help: name a second administrator.`,
    ]
    : [];
  const rootGoes = hasAccount(administratorsOf(before)) && !hasAccount(administrators)
    ? [
      "The statement of the account's root goes: from then on no IAM policy of the account gives access to this key. This is intended, but keep the administrators' roles.",
    ]
    : [];
  return [...alone, ...rootGoes];
}
