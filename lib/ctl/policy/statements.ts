/**
 * The statements of a key policy, each with what it is about: the form that evaluation, linter and roll-over read.
 *
 * @module
 */
import { type KeyPolicy, type KeyPolicyStatement, statementName } from "../aws/key_policy.ts";
import { actionsOf, hasWildcard, type KmsAction } from "./actions.ts";
import { type Condition, conditionsOf, isAboutAttestation } from "./conditions.ts";
import { principalsOf } from "./principals.ts";

/** A statement. */
export interface Statement {
  readonly index: number;
  /** For a reader. */
  readonly name: string;
  /** As it is written. */
  readonly source: KeyPolicyStatement;
  readonly actions: ReadonlySet<KmsAction>;
  /** Everyone, where it names those that it exempts. */
  readonly principals: readonly string[];
  readonly conditions: readonly Condition[];
  /** Those of the conditions that are about attestation. */
  readonly attestation: readonly Condition[];
  /** Whether it is about the key; undefined where that depends on the key's ARN. */
  readonly isAboutTheKey: boolean | undefined;
}

/** A key's ARN; in a pattern or in a list of ARNs, what cannot be one. */
const KEY_ARN = /^arn:aws[a-z-]*:kms:[^:]+:[0-9]{12}:key\/[^/]+$/;
const NO_KEY = /alias\/|^arn:[^:*?]*:(?!kms:)[^:*?]*:/;

function isAboutTheKey({ Resource, NotResource = [] }: KeyPolicyStatement): boolean | undefined {
  if (Resource === undefined) return NotResource.includes("*") ? false : undefined;
  if (Resource.includes("*")) return true;
  const mayBe = (name: string) => hasWildcard(name) ? !NO_KEY.test(name) : KEY_ARN.test(name);
  return Resource.some(mayBe) ? undefined : false;
}

/** The statements of a policy, in its order. */
export function statementsOf(policy: KeyPolicy): readonly Statement[] {
  return policy.Statement.map((source, index) => {
    const conditions = conditionsOf(source);
    return {
      index,
      name: statementName(source, index),
      source,
      actions: actionsOf(source),
      principals: principalsOf(source),
      conditions,
      attestation: conditions.filter(isAboutAttestation),
      isAboutTheKey: isAboutTheKey(source),
    };
  });
}
