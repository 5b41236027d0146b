/**
 * Reads and writes KMS key policies. Parsing is strict, and the output is canonical. Unknown elements are refused, not skipped: a statement
 * with a misspelt `Condtion` would be one without a condition.
 *
 * The parent's tools and the KMS emulator parse policies here, and evaluate them independently (`lib/ctl/policy/evaluate.ts`,
 * `lib/dev/kms_emulator/policy.ts`): a test compares their decisions.
 *
 * @module
 */
import { EnclaveError, type EnclaveErrorOptions, messageOf } from "../../shared/errors.ts";
import { field, isObject, type JsonObject } from "../../shared/json.ts";

/** Codes of {@link KeyPolicyError}. */
export type KeyPolicyErrorCode = "policy_invalid" | "policy_too_large";

/** A text is not a key policy, or not one that KMS would accept. */
export class KeyPolicyError extends EnclaveError {
  override name = "KeyPolicyError";
  /** One of {@link KeyPolicyErrorCode}. */
  declare readonly code: KeyPolicyErrorCode;

  constructor(message: string, options: EnclaveErrorOptions<KeyPolicyErrorCode>) {
    super(message, options);
  }
}

/** Kinds of principals. */
const PRINCIPAL_KINDS = ["AWS", "Service", "Federated", "CanonicalUser"] as const;

/** The principals: everyone, or lists by kind. */
export type Principals =
  | "*"
  | Readonly<Partial<Record<(typeof PRINCIPAL_KINDS)[number], readonly string[]>>>;

/** Conditions: operator, key, values. */
type Conditions = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** A statement of a key policy. A single value is read as a list of one. */
export interface KeyPolicyStatement {
  readonly Sid?: string;
  readonly Effect: "Allow" | "Deny";
  readonly Principal?: Principals;
  readonly NotPrincipal?: Principals;
  readonly Action?: readonly string[];
  readonly NotAction?: readonly string[];
  readonly Resource?: readonly string[];
  readonly NotResource?: readonly string[];
  readonly Condition?: Conditions;
}

/** A key policy. */
export interface KeyPolicy {
  readonly Version?: string;
  readonly Id?: string;
  readonly Statement: readonly KeyPolicyStatement[];
}

/** The largest policy that KMS accepts, in bytes. */
export const MAX_POLICY_BYTES = 32_768;

/** Allows for white space around the policy. */
const MAX_TEXT = 131_072;
const MAX_STATEMENTS = 500;
const MAX_LIST = 1_000;
const MAX_STRING = 4_096;

const POLICY_ELEMENTS = ["Version", "Id", "Statement"];
const STATEMENT_ELEMENTS = [
  "Sid",
  "Effect",
  "Principal",
  "NotPrincipal",
  "Action",
  "NotAction",
  "Resource",
  "NotResource",
  "Condition",
];

function invalid(message: string, hint?: string): KeyPolicyError {
  return new KeyPolicyError(`Cannot read the key policy: ${message}`, { code: "policy_invalid", hint });
}

function onlyKnown(object: JsonObject, known: readonly string[], where: string): void {
  const unknown = Object.keys(object).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw invalid(
    `${where} has the element ${JSON.stringify(unknown.slice(0, 64))}`,
    `It may have: ${known.join(", ")}. Names are case-sensitive.`,
  );
}

function text(input: unknown, where: string): string {
  if (typeof input === "string" && input.length > 0 && input.length <= MAX_STRING) return input;
  throw invalid(`${where} must be a text of 1 to ${MAX_STRING} characters`);
}

function list(input: unknown, where: string): readonly string[] {
  const items: readonly unknown[] = Array.isArray(input) ? input : [input];
  if (items.length === 0 || items.length > MAX_LIST) {
    throw invalid(`${where} must have 1 to ${MAX_LIST} items`);
  }
  return items.map((item) => text(item, where));
}

/** Condition values may also be empty lists, numbers and booleans. */
function values(input: unknown, where: string): readonly string[] {
  const items: readonly unknown[] = Array.isArray(input) ? input : [input];
  if (items.length > MAX_LIST) throw invalid(`${where} must have at most ${MAX_LIST} values`);
  return items.map((item) => {
    if (typeof item === "boolean" || typeof item === "number") return String(item);
    if (typeof item === "string" && item.length <= MAX_STRING) return item;
    throw invalid(`${where} must be texts, numbers or booleans`);
  });
}

function principals(input: unknown, where: string): Principals {
  if (input === "*") return "*";
  if (!isObject(input)) throw invalid(`${where} must be "*" or an object`);
  onlyKnown(input, PRINCIPAL_KINDS, where);
  const kinds = PRINCIPAL_KINDS.filter((kind) => Object.hasOwn(input, kind));
  if (kinds.length === 0) throw invalid(`${where} names nobody`);
  return Object.fromEntries(kinds.map((kind) => [kind, list(input[kind], `${where}.${kind}`)]));
}

function conditions(input: unknown, where: string): Conditions {
  if (!isObject(input)) throw invalid(`${where} must be an object`);
  const operators = Object.entries(input);
  if (operators.length > MAX_LIST) throw invalid(`${where} has too many operators`);
  return Object.fromEntries(operators.map(([operator, keys]) => {
    if (!isObject(keys)) throw invalid(`${where}.${operator.slice(0, 64)} must be an object`);
    const entries = Object.entries(keys);
    if (entries.length > MAX_LIST) throw invalid(`${where}.${operator.slice(0, 64)} has too many keys`);
    return [
      operator,
      Object.fromEntries(entries.map(([key, value]) => [key, values(value, `${where}.${key.slice(0, 64)}`)])),
    ];
  }));
}

function statement(input: unknown, index: number): KeyPolicyStatement {
  const where = `Statement[${index}]`;
  if (!isObject(input)) throw invalid(`${where} must be an object`);
  onlyKnown(input, STATEMENT_ELEMENTS, where);
  const effect = field(input, "Effect");
  if (effect !== "Allow" && effect !== "Deny") throw invalid(`${where}.Effect must be Allow or Deny`);
  for (const name of ["Principal", "Action", "Resource"]) {
    if (Object.hasOwn(input, name) === Object.hasOwn(input, `Not${name}`)) {
      throw invalid(`${where} must have either ${name} or Not${name}`);
    }
  }
  const some = <T>(name: string, read: (value: unknown, where: string) => T): Record<string, T> =>
    Object.hasOwn(input, name) ? { [name]: read(input[name], `${where}.${name}`) } : {};
  return {
    // An empty Sid counts as none.
    ...(field(input, "Sid") === "" ? {} : some("Sid", text)),
    Effect: effect,
    ...some("Principal", principals),
    ...some("NotPrincipal", principals),
    ...some("Action", list),
    ...some("NotAction", list),
    ...some("Resource", list),
    ...some("NotResource", list),
    ...some("Condition", conditions),
  };
}

/**
 * Reads a key policy from a parsed JSON value.
 *
 * @throws {KeyPolicyError} `policy_invalid`, naming the element.
 */
export function parseKeyPolicy(input: unknown): KeyPolicy {
  if (!isObject(input)) throw invalid("it must be a JSON object");
  onlyKnown(input, POLICY_ELEMENTS, "it");
  const given = field(input, "Statement");
  const statements: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (statements.length === 0 || statements.length > MAX_STATEMENTS) {
    throw invalid(`it must have 1 to ${MAX_STATEMENTS} statements`);
  }
  const version = field(input, "Version");
  if (version !== undefined && version !== "2012-10-17" && version !== "2008-10-17") {
    throw invalid("Version must be 2012-10-17 or 2008-10-17");
  }
  const id = field(input, "Id");
  return {
    ...(version === undefined ? {} : { Version: version }),
    ...(id === undefined || id === "" ? {} : { Id: text(id, "Id") }),
    Statement: statements.map(statement),
  };
}

/** The first duplicate name in an object of a JSON text: JSON.parse keeps the last value, other parsers the first. */
function duplicateName(json: string): string | undefined {
  const scopes: (Set<string> | undefined)[] = [];
  const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]]/gs;
  const colon = /\s*:/y;
  const isName = (at: number) => {
    colon.lastIndex = at;
    return colon.test(json);
  };
  for (const { 0: token, index } of json.matchAll(tokens)) {
    if (token === "{") scopes.push(new Set());
    else if (token === "[") scopes.push(undefined);
    else if (token === "}" || token === "]") scopes.pop();
    else if (isName(index + token.length)) {
      const names = scopes.at(-1);
      const name: unknown = JSON.parse(token);
      if (typeof name !== "string" || names === undefined) continue;
      if (names.has(name)) return name;
      names.add(name);
    }
  }
  return undefined;
}

/** Parses JSON and refuses duplicate names. */
function parseJson(json: string): unknown {
  if (json.length > MAX_TEXT) throw invalid(`it is longer than ${MAX_TEXT} characters`);
  let input: unknown;
  try {
    input = JSON.parse(json);
  } catch (thrown) {
    throw invalid(messageOf(thrown), "It must be JSON.");
  }
  const twice = duplicateName(json);
  if (twice !== undefined) throw invalid(`an object has ${JSON.stringify(twice.slice(0, 64))} twice`);
  return input;
}

/**
 * Reads a key policy's text, as KMS accepts it.
 *
 * @throws {KeyPolicyError} `policy_invalid`
 */
export function parseKeyPolicyText(json: string): KeyPolicy {
  return parseKeyPolicy(parseJson(json));
}

/**
 * Reads a key policy's text: the policy, or what `aws kms get-key-policy` prints (an object whose `Policy` is the policy's text).
 *
 * @throws {KeyPolicyError} `policy_invalid`
 */
export function readKeyPolicy(json: string): KeyPolicy {
  const input = parseJson(json);
  const wrapped = field(input, "Policy");
  return typeof wrapped === "string" ? readKeyPolicy(wrapped) : parseKeyPolicy(input);
}

/**
 * A policy as text, indented.
 *
 * @throws {KeyPolicyError} `policy_too_large` when KMS would refuse it for its size.
 */
export function formatKeyPolicy(policy: KeyPolicy): string {
  const size = new TextEncoder().encode(JSON.stringify(policy)).length;
  if (size > MAX_POLICY_BYTES) {
    throw new KeyPolicyError(`The key policy has ${size} bytes; KMS takes ${MAX_POLICY_BYTES}`, {
      code: "policy_too_large",
      hint: "Drop the builds that no longer run: denclavectl policy finalise.",
    });
  }
  return JSON.stringify(policy, null, 2);
}

/** The lower case of ASCII letters, as IAM compares names: by Unicode's rules a Kelvin sign would be a k. */
export function foldCase(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Identifies a statement for a reader: its Sid, or its position. */
export function statementName({ Sid }: KeyPolicyStatement, index: number): string {
  return Sid ?? `#${index + 1}`;
}
