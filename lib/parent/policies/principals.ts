/**
 * Whom a statement of a key policy is about.
 *
 * @module
 */
import type { KeyPolicyStatement, Principals } from "../../aws/key_policy.ts";

/** Everyone, in any account. */
export const EVERYONE = "*";

const ROOT = /^arn:aws[a-z-]*:iam::([0-9]{12}):root$/;
const ROLE = /^arn:(aws[a-z-]*):iam::([0-9]{12}):role\/(?:.*\/)?([^/]+)$/;
const SESSION = /^arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role\/([^/]+)\/.+$/;

/** The principals of a list, one text each. Those that are no ARN say their kind: `Service:logs.amazonaws.com`. */
export function flattenPrincipals(principals: Principals): readonly string[] {
  if (principals === "*") return [EVERYONE];
  return Object.entries(principals).flatMap(([kind, names]) =>
    names.map((name) => (kind === "AWS" ? name : `${kind}:${name}`))
  );
}

/** The principals that a statement names; everyone, when it names those that it spares. */
export function principalsOf({ Principal }: KeyPolicyStatement): readonly string[] {
  return Principal === undefined ? [EVERYONE] : flattenPrincipals(Principal);
}

/** The account whose IAM policies decide, when a principal is an account; else undefined. */
export function accountOf(principal: string): string | undefined {
  return /^[0-9]{12}$/.test(principal) ? principal : ROOT.exec(principal)?.[1];
}

/** Whether two ways of writing a principal mean the same. */
export function isSamePrincipal(a: string, b: string): boolean {
  if (a === b) return true;
  const account = accountOf(a);
  return account !== undefined && account === accountOf(b);
}

/**
 * Whether a principal as a policy writes it is the caller as STS names it: itself, or the role of its session. STS leaves the role's path
 * out.
 */
export function isCaller(principal: string, callerArn: string): boolean {
  if (principal === callerArn) return true;
  const [, partition, account, role] = ROLE.exec(principal) ?? [];
  const session = SESSION.exec(callerArn);
  return role !== undefined && session !== null && session[1] === partition && session[2] === account &&
    session[3] === role;
}
