/**
 * Conditions of a key policy: operators and keys, as IAM evaluates them. Unsupported ones are reported as unknown, never guessed.
 *
 * Sources: IAM's reference of policy elements ("Condition operators", "Multivalued context keys"); KMS's of its condition keys.
 *
 * @module
 */
import { foldCase } from "../../ctl/aws/key_policy.ts";

/** A request's values of each condition key. Names are in lower case, since they are case-insensitive. A missing key is absent from the request. */
export type ConditionValues = ReadonlyMap<string, readonly string[]>;

/** One line of a Condition block. */
export interface Condition {
  /** As it was written, such as `ForAnyValue:StringLike`. */
  readonly operator: string;
  /** As it was written, such as `kms:RecipientAttestation:PCR0`. */
  readonly key: string;
  /** Values to compare with; without any, none matches. */
  readonly values: readonly string[];
}

/** Whether a condition holds; `unknown` names what is not supported. */
type Verdict = true | false | { readonly unknown: string };

type Match = (wanted: string, found: string) => boolean;

/** An operator's comparison, and whether it is negated. */
interface Comparison {
  readonly match: Match;
  readonly negated: boolean;
}

const equals: Match = (wanted, found) => wanted === found;
const equalsIgnoringCase: Match = (wanted, found) => foldCase(wanted) === foldCase(found);

const COMPARISONS: Readonly<Record<string, Comparison>> = {
  StringEquals: { match: equals, negated: false },
  StringNotEquals: { match: equals, negated: true },
  StringEqualsIgnoreCase: { match: equalsIgnoringCase, negated: false },
  StringNotEqualsIgnoreCase: { match: equalsIgnoringCase, negated: true },
  StringLike: { match: like, negated: false },
  StringNotLike: { match: like, negated: true },
  Bool: { match: equalsIgnoringCase, negated: false },
};

/** Keys that this KMS sets, or knows to be absent. */
const KNOWN_KEYS =
  /^(kms:recipientattestation:(pcr([0-9]|[12][0-9]|3[01])|imagesha384)|kms:encryptioncontext:.+|kms:encryptioncontextkeys|kms:viaservice|kms:calleraccount|kms:encryptionalgorithm|aws:principalarn|aws:principalaccount|aws:securetransport)$/;
const OPERATOR = /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/;
/** Keys with several values in one request: single-valued operators are undefined for them. */
const MULTIVALUED = "kms:encryptioncontextkeys";

/** Whether a text matches a pattern with `*` (any characters) and `?` (any one), in time linear in their product. */
export function like(pattern: string, text: string): boolean {
  let [at, star, resume] = [0, -1, 0];
  for (let index = 0; index < text.length;) {
    const wanted = pattern[at];
    // The star is checked first, since the text may also contain one.
    if (wanted === "*") {
      [star, resume] = [at, index];
      at++;
    } else if (wanted !== undefined && (wanted === "?" || wanted === text[index])) {
      at++;
      index++;
    } else if (star !== -1) {
      resume++;
      [at, index] = [star + 1, resume];
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

/** Evaluates one condition. */
function holds({ operator, key, values }: Condition, found: ConditionValues): Verdict {
  const name = foldCase(key);
  if (!KNOWN_KEYS.test(name)) return { unknown: `condition key ${key}` };
  if (values.some((value) => value.includes("${"))) return { unknown: `a policy variable for ${key}` };
  const present = found.get(name);
  if (operator === "Null") return isNull(values, present, operator);
  const [, quantifier, base = "", ifExists] = OPERATOR.exec(operator) ?? [];
  const comparison = Object.hasOwn(COMPARISONS, base) ? COMPARISONS[base] : undefined;
  if (comparison === undefined) return { unknown: `condition operator ${operator}` };
  const { match, negated } = comparison;
  const fits = (value: string) => values.some((wanted) => match(wanted, value)) !== negated;
  switch (quantifier) {
    case "ForAllValues":
      return (present ?? []).every(fits);
    case "ForAnyValue":
      return present === undefined || present.length === 0 ? ifExists !== undefined : present.some(fits);
    default: {
      const [value, ...others] = present ?? [];
      // As in IAM, a negated operator holds where the key is absent: a common mistake in policies.
      if (value === undefined) return ifExists !== undefined || negated;
      if (name === MULTIVALUED || others.length > 0) {
        return { unknown: `${operator} on several values of ${key}` };
      }
      return fits(value);
    }
  }
}

function isNull(
  values: readonly string[],
  present: readonly string[] | undefined,
  operator: string,
): Verdict {
  const [wanted, ...others] = values.map(foldCase);
  if (others.length > 0 || (wanted !== "true" && wanted !== "false")) {
    return { unknown: `condition operator ${operator} with something else than true or false` };
  }
  return (present === undefined) === (wanted === "true");
}

/** Whether all hold: false as soon as one is false, since unknown ones then do not matter. */
export function allHold(conditions: readonly Condition[], found: ConditionValues): Verdict {
  const verdicts = conditions.map((condition) => holds(condition, found));
  if (verdicts.includes(false)) return false;
  return verdicts.find((verdict) => verdict !== true) ?? true;
}
