/**
 * What to do about AWS's errors on the parent, or at an administrator's desk.
 *
 * @module
 */
import { type AwsAdvice, awsAdvice } from "../../shared/aws/errors.ts";

/** What the caller does: looks after a key, creates one, wraps a session key, or keeps accounts in a DynamoDB table. */
export type HintReader = "key" | "createKey" | "wrap" | "table";

/** A hint for each reader; `other` for those that have none of their own. */
type Hints = { readonly [reader in HintReader | "other"]?: string };

const DENIED: Hints = {
  key:
    "The caller needs the right in the key's policy, or in its own IAM policy where the key's policy leaves it to IAM (denclavectl policy render --inspect lets the parent look).",
  createKey: "The caller needs kms:CreateKey (and kms:TagResource, kms:CreateAlias, kms:EnableKeyRotation).",
  wrap:
    "The key policy must let this role call kms:Encrypt under app=denclave,purpose=tsk (denclavectl policy render --issuer <role>).",
  table:
    "The role needs dynamodb:GetItem, PutItem and Scan on the table (denclavectl policy iam prints the policy).",
};
const EXPIRED: Hints = {
  other: "The credentials have expired: log in again, or let the instance's role give fresh ones.",
};
const UNKNOWN_CREDENTIALS: Hints = {
  other:
    "AWS does not know these credentials: check the access key, and the session token that belongs to it.",
};
const WRONG_SIGNATURE: Hints = {
  other: "The secret access key does not belong to the access key id, or this machine's clock is wrong.",
};
const NOT_FOUND: Hints = {
  other: "Check the key's ARN: account, region and id; deleted keys are not found.",
  table: "Make it: denclavectl account create-table, or check the table's name and the region.",
};
const BUSY: Hints = { other: "Too many requests: try again later." };

/** Other names, and other readers, get the hint of `awsAdvice`. */
const HINTS: Readonly<Record<string, Hints>> = {
  AccessDeniedException: DENIED,
  AccessDenied: DENIED,
  ExpiredTokenException: EXPIRED,
  ExpiredToken: EXPIRED,
  UnrecognizedClientException: UNKNOWN_CREDENTIALS,
  InvalidClientTokenId: UNKNOWN_CREDENTIALS,
  InvalidSignatureException: WRONG_SIGNATURE,
  SignatureDoesNotMatch: WRONG_SIGNATURE,
  NotFoundException: NOT_FOUND,
  ResourceNotFoundException: NOT_FOUND,
  ValidationException: {
    table: "The table's key must be Name, a string: denclavectl account create-table makes such a table.",
  },
  ThrottlingException: BUSY,
  ProvisionedThroughputExceededException: BUSY,
};

const UNKNOWN: AwsAdvice = {
  meaning: "unavailable",
  hint: "Check the network, the region and the endpoint, then try again.",
};

/**
 * What to do about an AWS error.
 *
 * @param name such as `AccessDeniedException`; others than AWS's count as `unavailable`
 */
export function parentAdvice(name: string, reader: HintReader): AwsAdvice {
  const { meaning, hint } = awsAdvice(name) ?? UNKNOWN;
  const hints = Object.hasOwn(HINTS, name) ? HINTS[name] : undefined;
  return { meaning, hint: hints?.[reader] ?? hints?.other ?? hint };
}
