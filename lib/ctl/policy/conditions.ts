/**
 * Conditions of a key policy: what each looks at, compared how, with what, and whether it holds when a
 * request comes without an attestation document.
 *
 * @module
 */
import { foldCase, type KeyPolicyStatement } from "../aws/key_policy.ts";
import { type Subject, subjectOf } from "./condition_keys.ts";

/** A condition. */
export interface Condition {
  /** As it is written. */
  readonly operator: string;
  /** Without qualifier and `IfExists`. */
  readonly base: string;
  readonly qualifier: "none" | "any" | "all";
  readonly ifExists: boolean;
  /** As it is written. */
  readonly key: string;
  readonly subject: Subject;
  readonly values: readonly string[];
}

const OPERATOR = /^(?:(ForAllValues|ForAnyValue):)?(.+?)(IfExists)?$/s;
const QUALIFIERS = { ForAllValues: "all", ForAnyValue: "any" } as const;
const EQUALS = ["StringEquals", "StringEqualsIgnoreCase"];
const NEGATED = ["StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike"];

/** A measurement: SHA-384 in hex. */
export const PCR_HEX = /^[0-9a-f]{96}$/i;
/** Register of an enclave in debug mode. */
export const ZERO_PCR = "0".repeat(96);

/** The conditions of a statement. */
export function conditionsOf({ Condition = {} }: KeyPolicyStatement): Condition[] {
  return Object.entries(Condition).flatMap(([operator, keys]) => {
    const [, set, base = operator, suffix] = OPERATOR.exec(operator) ?? [];
    return Object.entries(keys).map(([key, values]) => ({
      operator,
      // Null takes neither a qualifier nor IfExists.
      base: base === "Null" ? operator : base,
      qualifier: set === undefined ? "none" as const : QUALIFIERS[set as keyof typeof QUALIFIERS],
      ifExists: suffix !== undefined,
      key,
      subject: subjectOf(key),
      values,
    }));
  });
}

/** Whether a condition is about attestation. */
export function isAboutAttestation({ subject }: Condition): boolean {
  return subject.kind === "pcr" || subject.kind === "tpm" ||
    (subject.kind === "unknown" && subject.isAttestation);
}

/** Whether it requires one of its values. */
export function isEquality({ base }: Condition): boolean {
  return EQUALS.includes(base);
}

/** Whether it excludes its values. */
export function isNegated({ base }: Condition): boolean {
  return NEGATED.includes(base);
}

/** Whether a Null condition asks for a request without the key (true) or with it (false); else undefined. */
export function asksForAbsence({ base, values }: Condition): boolean | undefined {
  const [value, ...others] = values.map(foldCase);
  if (base !== "Null" || others.length > 0 || (value !== "true" && value !== "false")) return undefined;
  return value === "true";
}

/** Whether it holds for a request that does not have its key. */
export function holdsWhenAbsent(condition: Condition): boolean {
  const { base, qualifier, ifExists } = condition;
  if (base === "Null") return asksForAbsence(condition) === true;
  return ifExists || qualifier === "all" || (qualifier === "none" && base.includes("Not"));
}

/** Whether it fails for a request that comes without an attestation document. */
export function needsDocument(condition: Condition): boolean {
  if (condition.base === "Null") return asksForAbsence(condition) === false;
  return (isEquality(condition) || condition.base === "StringLike") && !holdsWhenAbsent(condition);
}

/** Whether its operator is case-sensitive. KMS compares measurements in lower case. */
export function isExact({ base }: Condition): boolean {
  return !base.endsWith("IgnoreCase");
}

/** The values that can be measurements of a real build, lower case. In another case an exact operator compares with none. */
export function usableValues(condition: Condition): readonly string[] {
  const { values } = condition;
  return values.map((value) => isExact(condition) ? value : foldCase(value)).filter((value) =>
    PCR_HEX.test(value) && value === foldCase(value) && value !== ZERO_PCR
  );
}

/**
 * What a statement's conditions pin: for each register the values that all conditions on it admit. Conditions that hold without a document
 * pin nothing.
 */
export function pinnedRegisters(conditions: readonly Condition[]): ReadonlyMap<number, ReadonlySet<string>> {
  const pins = new Map<number, ReadonlySet<string>>();
  for (const condition of conditions) {
    const { subject, base, values } = condition;
    if (subject.kind !== "pcr" || !needsDocument(condition) || base === "Null") continue;
    if (base === "StringLike" && values.some((value) => /[*?]/.test(value))) continue;
    const admitted = new Set(usableValues(condition));
    const before = pins.get(subject.index);
    pins.set(subject.index, before === undefined ? admitted : before.intersection(admitted));
  }
  return pins;
}
