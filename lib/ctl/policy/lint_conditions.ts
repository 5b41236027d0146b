/**
 * The linter's part about attestation conditions: operators, values, and whether what they pin is an image.
 *
 * @module
 */
import {
  asksForAbsence,
  type Condition,
  isEquality,
  isNegated,
  PCR_HEX,
  pinnedRegisters,
  ZERO_PCR,
} from "./conditions.ts";
import { type Finding, finding, type RuleId } from "./rules.ts";

const MAX_SHOWN = 32;

function shown({ operator, key }: Condition): string {
  return `${operator} ${key}`.slice(0, 128);
}

/** The findings about the values that registers are compared with. */
function valueFindings(condition: Condition, statement: string): readonly Finding[] {
  const { values, base, key } = condition;
  const at = (rule: RuleId, value: string) => finding(rule, statement, `${key} ${value}`.trimEnd());
  if (values.length === 0) return [at("no-values", "")];
  return values.flatMap((value) => {
    const short = JSON.stringify(value.slice(0, MAX_SHOWN));
    if (base.endsWith("Like") && /[*?]/.test(value)) return [at("like-wildcard", short)];
    if (!PCR_HEX.test(value)) return [at("pcr-value", short)];
    if (value === ZERO_PCR) return [at("zero-pcr", "")];
    return /[A-F]/.test(value) && !base.endsWith("IgnoreCase") ? [at("pcr-case", short)] : [];
  });
}

/** What is wrong with the key of a condition. */
export function keyFindings(condition: Condition, statement: string): readonly Finding[] {
  switch (condition.subject.kind) {
    case "tpm":
      return [finding("nitrotpm", statement, shown(condition))];
    case "unknown":
      return [finding("unknown-condition-key", statement, shown(condition))];
    case "pcr":
    case "fixed":
    case "other":
      return [];
    default:
      return condition.subject satisfies never;
  }
}

/** Whether an operator compares measurements, or tests whether there are any. */
function isComparison(condition: Condition): boolean {
  return isEquality(condition) || isNegated(condition) || ["StringLike", "Null"].includes(condition.base);
}

/** What is wrong with each condition of an Allow. */
export function allowConditionFindings(
  conditions: readonly Condition[],
  statement: string,
): readonly Finding[] {
  const isPinned = pinnedRegisters(conditions).size > 0;
  return conditions.flatMap((condition) => {
    const at = (rule: RuleId) => finding(rule, statement, shown(condition));
    const onKey = keyFindings(condition, statement);
    if (onKey.length > 0) return onKey;
    if (condition.base === "Null") {
      return asksForAbsence(condition) === false && isPinned ? [] : [at("null-condition")];
    }
    if (isNegated(condition)) return [at("negated-operator")];
    if (!isComparison(condition)) return [at("wrong-operator")];
    return [
      ...(condition.ifExists ? [at("if-exists")] : []),
      ...(condition.qualifier === "all" ? [at("for-all-values")] : []),
      ...(condition.qualifier === "any" ? [at("set-qualifier")] : []),
      ...valueFindings(condition, statement),
    ];
  });
}

/** Whether the registers that an Allow pins are those of an image. */
export function pinFindings(
  conditions: readonly Condition[],
  statement: string,
): readonly Finding[] {
  const pins = pinnedRegisters(conditions);
  const found: Finding[] = [];
  const lists = [...pins].filter(([, values]) => values.size > 1).map(([index]) => `PCR${index}`);
  if (lists.length > 1) found.push(finding("mixed-pcrs", statement, lists.join(", ")));
  const empty = [...pins].filter(([, values]) => values.size === 0).map(([index]) => `PCR${index}`);
  // An empty pin of values that are wrong in themselves has its finding; one of right values contradicts itself.
  const wrongValues = conditions.some((condition) =>
    valueFindings(condition, statement).some(({ rule }) => rule !== "pcr-case")
  );
  if (empty.length > 0 && !wrongValues) found.push(finding("contradiction", statement, empty.join(", ")));
  const rule = imageRule((index) => pins.has(index));
  const names = [...pins.keys()].map((index) => `PCR${index}`).join(", ");
  if (pins.size > 0 && rule !== undefined) found.push(finding(rule, statement, `only ${names}`));
  return found;
}

function imageRule(has: (index: number) => boolean): RuleId | undefined {
  if (has(0)) return has(1) && has(2) ? undefined : "pcr0-alone";
  if (has(1) && has(2)) return "pcr0-missing";
  if (has(8)) return "pcr8-alone";
  if (has(2)) return "pcr2-without-pcr1";
  if (has(1)) return "pcr1-alone";
  return has(3) || has(4) ? "only-pcr3-pcr4" : "other-pcrs-only";
}

/** What is wrong with the conditions of a Deny. */
export function denyConditionFindings(
  conditions: readonly Condition[],
  statement: string,
): readonly Finding[] {
  const negated = conditions.filter(isNegated);
  const registers = new Set(
    negated.map(({ subject, key }) => (subject.kind === "pcr" ? String(subject.index) : key)),
  );
  return [
    ...(registers.size > 1
      ? [finding("deny-several-negated", statement, negated.map(({ key }) => key).join(", ").slice(0, 256))]
      : []),
    ...conditions.flatMap((condition) => {
      const at = (rule: RuleId) => finding(rule, statement, shown(condition));
      const onKey = keyFindings(condition, statement);
      if (onKey.length > 0) return onKey;
      if (!isComparison(condition)) return [at("wrong-operator")];
      if (!isNegated(condition)) return [];
      return [
        ...(condition.qualifier === "any" ? [at("deny-for-any-value")] : []),
        ...valueFindings(condition, statement),
      ];
    }),
  ];
}
