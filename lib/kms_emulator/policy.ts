/**
 * Key policies, as KMS evaluates them: a Deny that matches decides; else an Allow that matches; else nothing is allowed. It fails closed: a statement whose
 * conditions this module does not know allows nothing and denies all that it speaks of, and the decision says so.
 *
 * There are no IAM policies here. A statement for the account (`arn:aws:iam::<account>:root`) hands the decision to them, so it counts as if each of the
 * account's principals had one that allows everything: the worst that can happen.
 *
 * @module
 */
import { allHold, type Condition, type ConditionValues, foldCase, like } from "./conditions.ts";
import { KmsRefusal } from "./errors.ts";

/** Who asks. */
export interface Caller {
  /** Of a role, a user or the account's root: `arn:aws:iam::111122223333:role/enclave`. */
  readonly arn: string;
  readonly account: string;
}

/** A name list that a statement is about, or about all but which it is. */
interface Names {
  readonly negated: boolean;
  readonly names: readonly string[];
}

/** A statement, read. */
export interface Statement {
  /** Its Sid, or its place: for decisions. */
  readonly name: string;
  readonly effect: "Allow" | "Deny";
  readonly principals: Names;
  readonly actions: Names;
  readonly resources: Names;
  readonly conditions: readonly Condition[];
}

/** A key policy, read. */
export interface KeyPolicy {
  /** As it was written. */
  readonly text: string;
  readonly statements: readonly Statement[];
}

/** What is to be decided. */
export interface PolicyRequest {
  readonly caller: Caller;
  /** Such as `kms:Decrypt`. */
  readonly action: string;
  /** The key's ARN. */
  readonly resource: string;
  readonly values: ConditionValues;
}

/** What a policy says. */
export interface Decision {
  readonly allowed: boolean;
  /** The statement that decided, and how it did; undefined when none allowed it. */
  readonly by: string | undefined;
  readonly isExplicitDeny: boolean;
  /** What was not known, and so counted against the caller. */
  readonly notes: readonly string[];
}

/** KMS's limit, characters. */
const MAX_POLICY_LENGTH = 32 * 1024;
const MAX_STATEMENTS = 256;
const VERSIONS: readonly unknown[] = ["2012-10-17", "2008-10-17"];
const STATEMENT_FIELDS: readonly string[] = [
  ...["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource"],
  "Condition",
];
const CALLER = /^arn:aws[a-z-]*:iam::([0-9]{12}):(?:root|(?:role|user)\/[\x21-\x7e]{1,600})$/;

/**
 * Reads who may ask.
 *
 * @throws {KmsRefusal} when it is no ARN of a role, a user or a root.
 */
export function parseCaller(arn: string): Caller {
  const [, account] = CALLER.exec(arn) ?? [];
  if (account !== undefined) return { arn, account };
  throw new KmsRefusal("ValidationException", `${JSON.stringify(arn.slice(0, 128))} is no ARN of a caller`, {
    hint: "Write arn:aws:iam::<account>:role/<name>, …:user/<name> or …:root.",
  });
}

function malformed(what: string, cause?: unknown): KmsRefusal {
  return new KmsRefusal("MalformedPolicyDocumentException", `Policy contains a statement or field: ${what}`, {
    hint: "Compare with the JSON of a key policy in KMS's documentation.",
    cause,
  });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text, or several. */
function texts(value: unknown, what: string): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const found = list.map((item) => {
    if (typeof item === "string" && item !== "") return item;
    throw malformed(`${what} is not a text, or a list of texts`);
  });
  if (found.length === 0) throw malformed(`${what} is empty`);
  return found;
}

/**
 * Reads a key policy.
 *
 * @throws {KmsRefusal} `MalformedPolicyDocumentException`
 */
export function parseKeyPolicy(text: string): KeyPolicy {
  if (text.length > MAX_POLICY_LENGTH) {
    throw new KmsRefusal(
      "LimitExceededException",
      `A key policy has at most ${MAX_POLICY_LENGTH} characters`,
    );
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    throw malformed("it is no JSON", thrown);
  }
  if (!isRecord(parsed)) throw malformed("it is no object");
  for (const field of Object.keys(parsed)) {
    if (!["Version", "Id", "Statement"].includes(field)) {
      throw malformed(`${JSON.stringify(field)} is unknown`);
    }
  }
  if (!VERSIONS.includes(parsed["Version"])) throw malformed("Version is not 2012-10-17");
  const list: readonly unknown[] = Array.isArray(parsed["Statement"])
    ? parsed["Statement"]
    : [parsed["Statement"]];
  if (list.length === 0 || list.length > MAX_STATEMENTS) {
    throw malformed(`it has not 1 to ${MAX_STATEMENTS} statements`);
  }
  return { text, statements: list.map(parseStatement) };
}

function parseStatement(value: unknown, index: number): Statement {
  const place = `statement ${index + 1}`;
  if (!isRecord(value)) throw malformed(`${place} is no object`);
  for (const field of Object.keys(value)) {
    if (!STATEMENT_FIELDS.includes(field)) throw malformed(`${JSON.stringify(field)} of ${place} is unknown`);
  }
  const { Sid: sid, Effect: effect } = value;
  if (sid !== undefined && typeof sid !== "string") throw malformed(`Sid of ${place} is no text`);
  if (effect !== "Allow" && effect !== "Deny") throw malformed(`Effect of ${place} is not Allow or Deny`);
  const names = (field: string, read: (value: unknown, what: string) => readonly string[]): Names => {
    const not = `Not${field}`;
    const has = Object.hasOwn(value, field);
    if (has === Object.hasOwn(value, not)) throw malformed(`${place} has not one of ${field} and ${not}`);
    return { negated: !has, names: read(value[has ? field : not], `${field} of ${place}`) };
  };
  return {
    name: sid === undefined || sid === "" ? place : sid,
    effect,
    principals: names("Principal", parsePrincipals),
    actions: names("Action", texts),
    resources: names("Resource", texts),
    conditions: value["Condition"] === undefined ? [] : parseConditions(value["Condition"], place),
  };
}

/** Those of AWS's accounts: services and other identities do not come here. */
function parsePrincipals(value: unknown, what: string): readonly string[] {
  if (value === "*") return ["*"];
  if (!isRecord(value) || Object.keys(value).length === 0) {
    throw malformed(`${what} is neither "*" nor an object`);
  }
  return Object.entries(value).flatMap(([kind, list]) => {
    if (!["AWS", "Service", "Federated", "CanonicalUser"].includes(kind)) {
      throw malformed(`${JSON.stringify(kind)} in ${what} is unknown`);
    }
    const found = texts(list, what);
    return kind === "AWS" ? found : found.map((name) => `${kind}:${name}`);
  });
}

function parseConditions(value: unknown, place: string): readonly Condition[] {
  if (!isRecord(value)) throw malformed(`Condition of ${place} is no object`);
  return Object.entries(value).flatMap(([operator, block]) => {
    if (!isRecord(block)) throw malformed(`${JSON.stringify(operator)} of ${place} is no object`);
    return Object.entries(block).map(([key, values]) => {
      const list: readonly unknown[] = Array.isArray(values) ? values : [values];
      const plain = list.map((item) => {
        if (typeof item === "string") return item;
        if (typeof item === "boolean" || typeof item === "number") return String(item);
        throw malformed(`a value of ${JSON.stringify(key)} in ${place} is no text`);
      });
      if (plain.length === 0) throw malformed(`${JSON.stringify(key)} in ${place} has no values`);
      return { operator, key, values: plain };
    });
  });
}

function isPrincipal(name: string, { arn, account }: Caller): boolean {
  if (name === "*" || name === arn || name === account) return true;
  return /^arn:aws[a-z-]*:iam::([0-9]{12}):root$/.exec(name)?.[1] === account;
}

function isAbout({ principals, actions, resources }: Statement, request: PolicyRequest): boolean {
  const { caller, action, resource } = request;
  return principals.names.some((name) => isPrincipal(name, caller)) !== principals.negated &&
    actions.names.some((name) => like(foldCase(name), foldCase(action))) !== actions.negated &&
    resources.names.some((name) => like(name, resource)) !== resources.negated;
}

/** Decides. */
export function evaluatePolicy({ statements }: KeyPolicy, request: PolicyRequest): Decision {
  const notes: string[] = [];
  let allowedBy: string | undefined;
  let deniedBy: string | undefined;
  for (const statement of statements) {
    if (!isAbout(statement, request)) continue;
    const verdict = allHold(statement.conditions, request.values);
    const isUnknown = typeof verdict === "object";
    if (isUnknown) notes.push(`${statement.name}: ${verdict.unknown} is not known here`);
    if (statement.effect === "Deny") {
      if (verdict === true || isUnknown) deniedBy ??= statement.name;
    } else if (verdict === true) allowedBy ??= statement.name;
  }
  return {
    allowed: deniedBy === undefined && allowedBy !== undefined,
    by: deniedBy ?? allowedBy,
    isExplicitDeny: deniedBy !== undefined,
    notes,
  };
}
