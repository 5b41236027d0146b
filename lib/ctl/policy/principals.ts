/**
 * Whom a statement of a key policy is about.
 *
 * @module
 */
import type { KeyPolicyStatement, Principals } from "../aws/key_policy.ts";

/** Everyone, in any account. */
export const EVERYONE = "*";

const ROOT = /^arn:aws[a-z-]*:iam::([0-9]{12}):root$/;
const ROLE = /^arn:(aws[a-z-]*):iam::([0-9]{12}):role\/(?:.*\/)?([^/]+)$/;
const SESSION = /^arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role\/([^/]+)\/.+$/;

/** The principals of a list, one text each. Those of other kinds name it: `Service:logs.amazonaws.com`. */
function flattenPrincipals(principals: Principals): readonly string[] {
  if (principals === "*") return [EVERYONE];
  return Object.entries(principals).flatMap(([kind, names]) =>
    names.map((name) => (kind === "AWS" ? name : `${kind}:${name}`))
  );
}

/** Whether a principal is a service or an identity of another provider: it sends no attestation document. */
export function isNotAws(principal: string): boolean {
  return /^(?:Service|Federated|CanonicalUser):/.test(principal);
}

/** The principals that a statement names; everyone, when it names those that it spares. */
export function principalsOf({ Principal }: KeyPolicyStatement): readonly string[] {
  return Principal === undefined ? [EVERYONE] : flattenPrincipals(Principal);
}

/** The account whose IAM policies decide, when a principal is an account; else undefined. */
export function accountOf(principal: string): string | undefined {
  return /^[0-9]{12}$/.test(principal) ? principal : ROOT.exec(principal)?.[1];
}

/** Whether a principal is one session of a role, and not the role. */
export function isSession(principal: string): boolean {
  return SESSION.test(principal);
}

/** The role that a principal is, or is a session of; without its path, which the ARN of a session lacks. */
function roleOf(principal: string): string | undefined {
  return (ROLE.exec(principal) ?? SESSION.exec(principal))?.slice(1).join(":");
}

/** Whether two principals are one account, one role (or sessions of it), or the same text. */
export function isSamePrincipal(a: string, b: string): boolean {
  if (a === b) return true;
  const [account, role] = [accountOf(a), roleOf(a)];
  return (account !== undefined && account === accountOf(b)) || (role !== undefined && role === roleOf(b));
}

/** Whether a principal includes another: everyone, its account, itself, or the role of its session. */
export function covers(principal: string, other: string): boolean {
  if (principal === EVERYONE) return true;
  const account = accountOf(principal);
  if (account !== undefined) {
    return account === (accountOf(other) ?? /^arn:[^:]*:[^:]*::([0-9]{12}):/.exec(other)?.[1]);
  }
  return principal === other || (!isSession(principal) && isSamePrincipal(principal, other));
}
