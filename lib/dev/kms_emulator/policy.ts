/**
 * Evaluates key policies as KMS does: a matching Deny decides; else a matching Allow; else the request is denied. It fails closed: an Allow with
 * conditions that this module does not know does not match, and a Deny with such conditions does; the decision says so.
 *
 * There are no IAM policies here. A statement for the account (`arn:aws:iam::<account>:root`) delegates to them, so it is evaluated as if each of the
 * account's principals had an IAM policy that allows everything: the worst case.
 *
 * The parent's tools have an evaluator of their own (`lib/ctl/policy/evaluate.ts`), which predicts a policy's effect before it is put into force. The two
 * share only the parser, so that each checks the other.
 *
 * @module
 */
import {
  foldCase,
  KeyPolicyError,
  type KeyPolicyStatement,
  MAX_POLICY_BYTES,
  parseKeyPolicyText,
  type Principals,
} from "../../ctl/aws/key_policy.ts";
import { allHold, type Condition, type ConditionValues, like } from "./conditions.ts";
import { KmsRefusal } from "./errors.ts";

/** The caller. */
export interface Caller {
  /** ARN of a role, a user or the account's root: `arn:aws:iam::111122223333:role/enclave`. */
  readonly arn: string;
  readonly account: string;
}

/** A list of names that a statement applies to, or that it excludes. */
interface Names {
  readonly negated: boolean;
  readonly names: readonly string[];
}

/** A parsed statement. */
interface Statement {
  /** Its Sid, or its position, for decisions. */
  readonly name: string;
  readonly effect: "Allow" | "Deny";
  readonly principals: Names;
  readonly actions: Names;
  readonly resources: Names;
  readonly conditions: readonly Condition[];
}

/** A parsed key policy. */
export interface KeyPolicy {
  /** Its original text. */
  readonly text: string;
  readonly statements: readonly Statement[];
}

/** The request to decide on. */
interface PolicyRequest {
  readonly caller: Caller;
  /** Such as `kms:Decrypt`. */
  readonly action: string;
  /** The key's ARN. */
  readonly resource: string;
  readonly values: ConditionValues;
}

/** A policy's decision. */
export interface Decision {
  readonly allowed: boolean;
  /** The statement that decided, and its effect; undefined when no statement matched. */
  readonly by: string | undefined;
  readonly isExplicitDeny: boolean;
  /** Unknown conditions, which counted against the caller. */
  readonly notes: readonly string[];
}

const CALLER = /^arn:aws[a-z-]*:iam::([0-9]{12}):(?:root|(?:role|user)\/[\x21-\x7e]{1,600})$/;

/** The caller of an ARN; undefined if it is not the ARN of a role, a user or a root. */
export function findCaller(arn: string): Caller | undefined {
  const [, account] = CALLER.exec(arn) ?? [];
  return account === undefined ? undefined : { arn, account };
}

/** As {@link findCaller}. @throws {KmsRefusal} when there is none */
export function parseCaller(arn: string): Caller {
  const caller = findCaller(arn);
  if (caller !== undefined) return caller;
  const message = `${JSON.stringify(arn.slice(0, 128))} is not the ARN of a caller`;
  const hint = "Write arn:aws:iam::<account>:role/<name>, …:user/<name> or …:root.";
  throw new KmsRefusal("ValidationException", message, { hint });
}

/**
 * Reads a key policy.
 *
 * @throws {KmsRefusal} `MalformedPolicyDocumentException`
 */
export function parseKeyPolicy(text: string): KeyPolicy {
  if (new TextEncoder().encode(text).length > MAX_POLICY_BYTES) {
    throw new KmsRefusal("LimitExceededException", `A key policy has at most ${MAX_POLICY_BYTES} bytes`);
  }
  try {
    return { text, statements: parseKeyPolicyText(text).Statement.map(statementOf) };
  } catch (thrown) {
    if (!(thrown instanceof KeyPolicyError)) throw thrown;
    const message = `Policy contains a statement or field that is not valid. ${thrown.message}`;
    throw new KmsRefusal("MalformedPolicyDocumentException", message, {
      hint: thrown.hint ?? "Compare with the JSON of a key policy in KMS's documentation.",
      cause: thrown,
    });
  }
}

/** The parser ensures that a statement has one of the two. */
function namesOf(names: readonly string[] | undefined, others: readonly string[] = []): Names {
  return { negated: names === undefined, names: names ?? others };
}

function statementOf(statement: KeyPolicyStatement, index: number): Statement {
  const { Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource } = statement;
  return {
    name: Sid ?? `statement ${index + 1}`,
    effect: Effect,
    principals: namesOf(principalNames(Principal), principalNames(NotPrincipal)),
    actions: namesOf(Action, NotAction),
    resources: namesOf(Resource, NotResource),
    conditions: Object.entries(statement.Condition ?? {}).flatMap(([operator, block]) =>
      Object.entries(block).map(([key, values]) => ({ operator, key, values }))
    ),
  };
}

/** The names of AWS principals. Services and other identities never call this KMS; they keep their kind as a prefix. */
function principalNames(principals: Principals | undefined): readonly string[] | undefined {
  if (principals === undefined || principals === "*") return principals && ["*"];
  return Object.entries(principals).flatMap(([kind, names]) =>
    kind === "AWS" ? names : names.map((name) => `${kind}:${name}`)
  );
}

/** The ARN of a role's session, as STS shows it. */
export function sessionArn({ arn }: Caller): string {
  return arn.replace(
    /^arn:([a-z-]+):iam::([0-9]{12}):role\/(?:.*\/)?([^/]+)$/,
    "arn:$1:sts::$2:assumed-role/$3/emulator",
  );
}

function isPrincipal(name: string, caller: Caller): boolean {
  const { arn, account } = caller;
  if (name === "*" || name === arn || name === account || name === sessionArn(caller)) return true;
  return /^arn:aws[a-z-]*:iam::([0-9]{12}):root$/.exec(name)?.[1] === account;
}

function isAbout({ principals, actions, resources }: Statement, request: PolicyRequest): boolean {
  const { caller, action, resource } = request;
  return principals.names.some((name) => isPrincipal(name, caller)) !== principals.negated &&
    actions.names.some((name) => like(foldCase(name), foldCase(action))) !== actions.negated &&
    resources.names.some((name) => like(name, resource)) !== resources.negated;
}

/** Decides on a request. */
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
