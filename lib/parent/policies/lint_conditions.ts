/**
 * The linter's part about attestation conditions: operators, values, and whether what they pin is an image.
 *
 * @module
 */
import {
  type AttestationCondition,
  isEquality,
  isNegated,
  PCR_HEX,
  pinnedRegisters,
  ZERO_PCR,
} from "./conditions.ts";
import { type Finding, finding, type RuleId } from "./rules.ts";

const MAX_SHOWN = 32;

function shown({ operator, key }: AttestationCondition): string {
  return `${operator} ${key}`.slice(0, 128);
}

/** The findings about the values that registers are compared with. */
function valueFindings(condition: AttestationCondition, statement: string): readonly Finding[] {
  const { values, base, key } = condition;
  const at = (rule: RuleId, value: string) => finding(rule, statement, `${key} ${value}`.trimEnd());
  if (values.length === 0) return [at("no-values", "")];
  return values.flatMap((value) => {
    const short = JSON.stringify(value.slice(0, MAX_SHOWN));
    if (base.endsWith("like") && /[*?]/.test(value)) return [at("like-wildcard", short)];
    if (!PCR_HEX.test(value)) return [at("pcr-value", short)];
    if (value === ZERO_PCR) return [at("zero-pcr", "")];
    return /[A-F]/.test(value) && !base.endsWith("ignorecase") ? [at("pcr-case", short)] : [];
  });
}

function keyFindings(condition: AttestationCondition, statement: string): readonly Finding[] {
  switch (condition.register.kind) {
    case "tpm":
      return [finding("nitrotpm", statement, shown(condition))];
    case "unknown":
      return [finding("unknown-attestation-key", statement, shown(condition))];
    case "pcr":
      return [];
    default:
      return condition.register satisfies never;
  }
}

/** What is wrong with each condition of an Allow. */
export function allowConditionFindings(
  conditions: readonly AttestationCondition[],
  statement: string,
): readonly Finding[] {
  const isPinned = pinnedRegisters(conditions).size > 0;
  return conditions.flatMap((condition) => {
    const at = (rule: RuleId) => finding(rule, statement, shown(condition));
    const onKey = keyFindings(condition, statement);
    if (onKey.length > 0) return onKey;
    if (condition.base === "null") {
      const asksForOne = condition.values.every((value) => value.toLowerCase() === "false");
      return asksForOne && isPinned ? [] : [at("null-condition")];
    }
    if (isNegated(condition)) return [at("negated-operator")];
    if (!isEquality(condition) && condition.base !== "stringlike") return [at("wrong-operator")];
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
  conditions: readonly AttestationCondition[],
  statement: string,
): readonly Finding[] {
  const pins = pinnedRegisters(conditions);
  const found: Finding[] = [];
  const lists = [...pins].filter(([, values]) => values.size > 1).map(([index]) => `PCR${index}`);
  if (lists.length > 1) found.push(finding("mixed-pcrs", statement, lists.join(", ")));
  const empty = [...pins].filter(([, values]) => values.size === 0).map(([index]) => `PCR${index}`);
  // An empty pin of values that are wrong in themselves has its finding; one of right values contradicts itself.
  const wrongValues = conditions.some((condition) => valueFindings(condition, statement).length > 0);
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
  conditions: readonly AttestationCondition[],
  statement: string,
): readonly Finding[] {
  const negated = conditions.filter(isNegated);
  const registers = new Set(
    negated.map(({ register, key }) => (register.kind === "pcr" ? String(register.index) : key)),
  );
  return [
    ...(registers.size > 1
      ? [finding("deny-several-negated", statement, negated.map(({ key }) => key).join(", ").slice(0, 256))]
      : []),
    ...negated.flatMap((condition) => [
      ...keyFindings(condition, statement),
      ...(condition.qualifier === "any" ? [finding("deny-for-any-value", statement, shown(condition))] : []),
      ...valueFindings(condition, statement),
    ]),
  ];
}
