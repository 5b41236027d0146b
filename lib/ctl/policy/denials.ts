/**
 * The Deny statements of a key policy: what they take away, from whom, and which builds they refuse.
 *
 * @module
 */
import { foldCase } from "../aws/key_policy.ts";
import { ATTESTED_USE, hasWildcard, type KmsAction } from "./actions.ts";
import {
  asksForAbsence,
  type Condition,
  holdsWhenAbsent,
  isEquality,
  isExact,
  isNegated,
  usableValues,
} from "./conditions.ts";
import { covers, isSamePrincipal } from "./principals.ts";
import type { Statement } from "./statements.ts";

/** A Deny that is about the key, or may be. */
export interface Denial extends Statement {
  /** Whether it is certainly about the key, and exempts nobody. */
  readonly isCertain: boolean;
  /** PCR0 of the builds that it spares, lower case; undefined if not certain, or if it looks at more. */
  readonly builds: ReadonlySet<string> | undefined;
}

/** A Deny that keeps all but a list of builds from using the key. */
export interface Guard extends Denial {
  readonly builds: ReadonlySet<string>;
}

/** The builds that a Deny spares, when it has nothing but one negated condition on PCR0. */
function guardedBuilds(
  [condition, ...others]: readonly Condition[],
): ReadonlySet<string> | undefined {
  if (
    condition === undefined || others.length > 0 || !isNegated(condition) ||
    condition.qualifier === "any" || condition.subject.kind !== "pcr" || condition.subject.index !== 0
  ) return undefined;
  if (condition.base === "StringNotLike" && condition.values.some(hasWildcard)) return undefined;
  const builds = new Set(usableValues(condition));
  // The linter reports values that are not measurements. A Deny that permits all-zero PCRs protects nothing.
  return builds.size === new Set(condition.values.map(foldCase)).size ? builds : undefined;
}

/** The Deny statements of a policy that are about the key, or may be. */
export function denialsOf(statements: readonly Statement[]): readonly Denial[] {
  return statements.filter(({ source, isAboutTheKey }) => source.Effect === "Deny" && isAboutTheKey !== false)
    .map((statement) => {
      const isCertain = statement.isAboutTheKey === true && statement.source.NotPrincipal === undefined;
      return { ...statement, isCertain, builds: isCertain ? guardedBuilds(statement.conditions) : undefined };
    });
}

/** The Denies that certainly hold for every request. */
export function unconditional(denials: readonly Denial[]): readonly Denial[] {
  return denials.filter(({ isCertain, conditions }) => isCertain && conditions.length === 0);
}

/** The guards among a policy's Denies. */
export function guardsAmong(denials: readonly Denial[]): readonly Guard[] {
  return denials.filter((denial): denial is Guard => denial.builds !== undefined);
}

/** The actions that Denies take from a principal: always, or (guards) without a listed build's document. */
export function takenFrom(denials: readonly Denial[], principal: string): ReadonlySet<KmsAction> {
  return new Set(
    denials.filter(({ principals }) => principals.some((denied) => covers(denied, principal)))
      .flatMap(({ actions }) => [...actions]),
  );
}

/** Registers up to this one are in every document. */
const LAST_LOCKED_PCR = 15;

/** Whether a condition holds for a request with the document of a build; undefined if that is not known. */
export function holdsFor(condition: Condition, measured: ReadonlyMap<number, string>): boolean | undefined {
  const { subject, base, values } = condition;
  if (subject.kind === "other") return undefined;
  if (subject.kind === "tpm" || subject.kind === "unknown") return holdsWhenAbsent(condition);
  if (subject.kind === "fixed" && subject.value === undefined) return holdsWhenAbsent(condition);
  if (base === "Null") {
    const isThere = subject.kind === "fixed" || subject.index <= LAST_LOCKED_PCR;
    const asked = asksForAbsence(condition);
    return isThere && asked !== undefined ? !asked : undefined;
  }
  const value = subject.kind === "fixed" ? subject.value : measured.get(subject.index);
  const isCompared = isEquality(condition) || isNegated(condition) || base === "StringLike" ||
    base === "Bool";
  if (value === undefined || !isCompared || (base.endsWith("Like") && values.some(hasWildcard))) {
    return undefined;
  }
  const exact = isExact(condition) && base !== "Bool";
  return values.some((each) => (exact ? each : foldCase(each)) === value) !== isNegated(condition);
}

/** A Deny that keeps a build from using the key, or may do so. */
interface Refusal {
  readonly statement: string;
  readonly isGuard: boolean;
  /** The conditions on which it depends, beside those on measurements. */
  readonly dependsOn: readonly string[];
}

/** Who uses the key with a document, and how. */
interface Use {
  readonly users: readonly string[];
  readonly actions: ReadonlySet<KmsAction>;
}

/** The Denies that refuse a build a use of the key, or may do so. */
export function refusalsOf(
  denials: readonly Denial[],
  measured: ReadonlyMap<number, string>,
  { users, actions }: Use,
): readonly Refusal[] {
  const isConcerned = (denied: string) =>
    users.some((user) => covers(denied, user) || isSamePrincipal(denied, user));
  return denials.filter((denial) =>
    // Builds that are known by other registers than PCR0 may be on a guard's list.
    (denial.builds === undefined || measured.has(0)) &&
    ATTESTED_USE.some((action) => actions.has(action) && denial.actions.has(action)) &&
    denial.principals.some(isConcerned) &&
    !denial.conditions.some((condition) => holdsFor(condition, measured) === false)
  ).map(({ name, builds, conditions }) => ({
    statement: name,
    isGuard: builds !== undefined,
    dependsOn: conditions.filter(({ subject }) => subject.kind === "other").map(({ key }) => key),
  }));
}
