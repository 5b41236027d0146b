/**
 * Conditions of a key policy, those about attestation above all: which register, compared how, with what, and whether they hold when a
 * request comes without an attestation document.
 *
 * @module
 */
import type { KeyPolicyStatement } from "../../aws/key_policy.ts";

/** What an attestation condition looks at. */
export type Register =
  /** PCR of an enclave; ImageSha384 is PCR0 by another name. */
  | { readonly kind: "pcr"; readonly index: number }
  /** NitroTPM's registers, of an instance and not of an enclave. */
  | { readonly kind: "tpm" }
  | { readonly kind: "unknown" };

/** A condition about attestation. */
export interface AttestationCondition {
  /** As it is written. */
  readonly operator: string;
  /** Without qualifier and `IfExists`, lower case. */
  readonly base: string;
  readonly qualifier: "none" | "any" | "all";
  readonly ifExists: boolean;
  /** As it is written. */
  readonly key: string;
  readonly register: Register;
  readonly values: readonly string[];
}

const PREFIX = "kms:recipientattestation:";
/** The highest register of the Nitro security module. */
const MAX_PCR = 31;
const EQUALS = ["stringequals", "stringequalsignorecase"];
const NEGATED = ["stringnotequals", "stringnotequalsignorecase", "stringnotlike"];

/** A measurement: SHA-384 in hex. */
export const PCR_HEX = /^[0-9a-f]{96}$/i;
/** Register of an enclave in debug mode. */
export const ZERO_PCR = "0".repeat(96);

function registerOf(key: string): Register {
  const name = key.slice(PREFIX.length).toLowerCase();
  if (name === "imagesha384") return { kind: "pcr", index: 0 };
  if (/^nitrotpmpcr[0-9]+$/.test(name)) return { kind: "tpm" };
  const [, digits] = /^pcr(0|[1-9][0-9]?)$/.exec(name) ?? [];
  const index = Number(digits);
  return digits !== undefined && index <= MAX_PCR ? { kind: "pcr", index } : { kind: "unknown" };
}

/** The conditions of a statement that are about attestation. */
export function attestationConditions({ Condition = {} }: KeyPolicyStatement): AttestationCondition[] {
  return Object.entries(Condition).flatMap(([operator, keys]) => {
    const [, set, base = "", suffix] = /^(?:(forallvalues|foranyvalue):)?(.*?)(ifexists)?$/.exec(
      operator.toLowerCase(),
    ) ?? [];
    return Object.entries(keys).filter(([key]) => key.toLowerCase().startsWith(PREFIX)).map((
      [key, values],
    ) => ({
      operator,
      base,
      qualifier: set === "forallvalues"
        ? "all" as const
        : set === "foranyvalue"
        ? "any" as const
        : "none" as const,
      ifExists: suffix !== undefined,
      key,
      register: registerOf(key),
      values,
    }));
  });
}

/** Whether it requires one of its values. */
export function isEquality({ base }: AttestationCondition): boolean {
  return EQUALS.includes(base);
}

/** Whether it excludes its values. */
export function isNegated({ base }: AttestationCondition): boolean {
  return NEGATED.includes(base);
}

/** Whether it fails for a request that comes without an attestation document. */
export function needsDocument(condition: AttestationCondition): boolean {
  if (condition.base === "null") return condition.values.every((value) => value.toLowerCase() === "false");
  return (isEquality(condition) || condition.base === "stringlike") && !condition.ifExists &&
    condition.qualifier !== "all";
}

/** Whether its operator is case-sensitive. KMS compares measurements in lower case. */
export function isExact({ base }: AttestationCondition): boolean {
  return !base.endsWith("ignorecase");
}

/** The values that can be measurements of a real build, lower case. In another case an exact operator compares with none. */
export function usableValues(condition: AttestationCondition): readonly string[] {
  const { values } = condition;
  return values.map((value) => isExact(condition) ? value : value.toLowerCase()).filter((value) =>
    PCR_HEX.test(value) && value === value.toLowerCase() && value !== ZERO_PCR
  );
}

/**
 * What a statement's conditions pin: for each register the values that all conditions on it admit. Conditions that hold without a document
 * pin nothing.
 */
export function pinnedRegisters(
  conditions: readonly AttestationCondition[],
): ReadonlyMap<number, ReadonlySet<string>> {
  const pins = new Map<number, ReadonlySet<string>>();
  for (const condition of conditions) {
    const { register, base, values } = condition;
    if (register.kind !== "pcr" || !needsDocument(condition) || base === "null") continue;
    if (base === "stringlike" && values.some((value) => /[*?]/.test(value))) continue;
    const admitted = new Set(usableValues(condition));
    const before = pins.get(register.index);
    pins.set(register.index, before === undefined ? admitted : before.intersection(admitted));
  }
  return pins;
}
