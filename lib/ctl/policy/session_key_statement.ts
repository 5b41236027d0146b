/**
 * The statement that lets an issuer wrap trusted session keys: kms:Encrypt on condition of the EncryptionContext that the enclave expects of a
 * session key. It does not allow wrapping the data keys of the wallet or the master key.
 *
 * @module
 */
import { TSK_CONTEXT } from "../../shared/aws/tsk_context.ts";
import { foldCase, type KeyPolicyStatement } from "../aws/key_policy.ts";
import type { Statement } from "./statements.ts";

const CONTEXT_KEY = "kms:EncryptionContext:";
const CONTEXT_KEYS = "kms:EncryptionContextKeys";
/** An epoch may be bound too (`--require-epoch`). */
const ALLOWED_KEYS: readonly string[] = [...Object.keys(TSK_CONTEXT), "epoch"];

/** Writes the statement. */
export function sessionKeyStatement(issuers: readonly string[]): KeyPolicyStatement {
  return {
    Sid: "IssuersWrapSessionKeys",
    Effect: "Allow",
    Principal: { AWS: issuers },
    Action: ["kms:Encrypt"],
    Resource: ["*"],
    Condition: {
      StringEquals: Object.fromEntries(
        Object.entries(TSK_CONTEXT).map(([name, value]) => [`${CONTEXT_KEY}${name}`, [value]]),
      ),
      // Names of condition keys ignore case: without this, {purpose: "wallet", Purpose: "tsk"} would match as well.
      "ForAllValues:StringEquals": { [CONTEXT_KEYS]: ALLOWED_KEYS },
    },
  };
}

/** Whether what a statement allows can wrap session keys and nothing else. Further conditions only narrow it. */
export function wrapsSessionKeysAlone({ conditions }: Statement): boolean {
  const valuesOf = (operator: string, key: string) =>
    conditions.find((one) => one.operator === operator && foldCase(one.key) === foldCase(key))?.values;
  const isBound = Object.entries(TSK_CONTEXT).every(([name, value]) => {
    const values = valuesOf("StringEquals", `${CONTEXT_KEY}${name}`);
    return values?.length === 1 && values[0] === value;
  });
  const keys = valuesOf("ForAllValues:StringEquals", CONTEXT_KEYS);
  return isBound && keys !== undefined && keys.every((key) => ALLOWED_KEYS.includes(key));
}
