/**
 * The policy of the parent's IAM role: what the instance may do, and no more. Permission to call Decrypt does not let it see a key: the
 * key's own policy, with its conditions on PCRs, decides that.
 *
 * @module
 */
import type { KeyArn } from "../../shared/aws/key_arn.ts";

/** A statement of an IAM policy. */
interface PolicyStatement {
  readonly Sid: string;
  readonly Effect: "Allow" | "Deny";
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

/** An IAM policy. */
interface IamPolicy {
  readonly Version: "2012-10-17";
  readonly Statement: readonly PolicyStatement[];
}

/** What the role is for. */
interface IamPolicyOptions {
  readonly keys: readonly KeyArn[];
  /** Of the accounts; undefined when they are in SQLite. */
  readonly table: string | undefined;
}

/**
 * Writes the policy with the ARNs filled in. The table is in the first key's account and region.
 *
 * @throws {RangeError} without a key.
 */
export function iamPolicy({ keys, table }: IamPolicyOptions): IamPolicy {
  const [first] = keys;
  if (first === undefined) throw new RangeError("Cannot write an IAM policy without a KMS key");
  const keyStatement: PolicyStatement = {
    Sid: "KeysForTheEnclave",
    Effect: "Allow",
    Action: ["kms:Decrypt", "kms:GenerateDataKey"],
    Resource: keys.map(({ arn }) => arn),
  };
  if (table === undefined) return { Version: "2012-10-17", Statement: [keyStatement] };
  const { partition, region, account } = first;
  return {
    Version: "2012-10-17",
    Statement: [keyStatement, {
      Sid: "AccountsOfTheWallet",
      Effect: "Allow",
      // No UpdateItem, no DeleteItem: rows are written whole, on a condition, and read.
      Action: ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"],
      Resource: [`arn:${partition}:dynamodb:${region}:${account}:table/${table}`],
    }],
  };
}
