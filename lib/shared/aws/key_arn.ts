/**
 * KMS keys as a measured configuration names them, and how a request selects among them (SECURITY 1 and 2): if a parent could name
 * its own key, it could get the data key with a plain Decrypt.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";
import { partitionOf } from "./partitions.ts";
import { isRegion } from "./region.ts";

/** A parsed KMS key ARN. */
export interface KeyArn {
  readonly arn: string;
  readonly partition: string;
  readonly region: string;
  readonly account: string;
  /** A UUID, or `mrk-` and 32 hex digits. */
  readonly id: string;
}

const ARN = /^arn:(aws[a-z-]*):kms:([^:]+):([0-9]{12}):key\/([A-Za-z0-9-]{1,128})$/;

/**
 * Reads a key ARN. Aliases are refused: whoever can move an alias could choose the key.
 *
 * @throws {EnclaveError} `invalid_key_arn`
 */
export function parseKeyArn(text: string): KeyArn {
  const [arn, partition = "", region = "", account = "", id = ""] = ARN.exec(text) ?? [];
  if (arn !== undefined && isRegion(region) && partitionOf(region).name === partition) {
    return { arn, partition, region, account, id };
  }
  throw new EnclaveError(`Cannot use ${JSON.stringify(text.slice(0, 128))} as a KMS key`, {
    code: "invalid_key_arn",
    hint: text.includes("alias/")
      ? "An alias can be moved to another key: give the key's own ARN (aws kms describe-key prints it)."
      : "Give the key's full ARN, with its region's partition: arn:aws:kms:<region>:<account>:key/<id>.",
  });
}

/** What a request says about the key it wants. */
export interface KeySelection {
  /** ARN, or the id at the end of one. */
  readonly key?: string | undefined;
  readonly region?: string | undefined;
  /** The field that has the key, for errors. */
  readonly field?: string | undefined;
}

/** Why no allowed key fits. */
function mismatch(allowed: readonly KeyArn[], { key, field = "kms_key_id" }: KeySelection): string {
  if (key === undefined || allowed.some(({ arn, id }) => key === arn || key === id)) {
    return "Field region does not name the region of an allowed KMS key";
  }
  const [, , keyRegion = "", account] = ARN.exec(key) ?? [];
  const isElsewhere = account !== undefined && isRegion(keyRegion) &&
    !allowed.some((candidate) => candidate.account === account && candidate.region === keyRegion);
  return isElsewhere
    ? `Field ${field} names a KMS key of account ${account} in ${keyRegion}, where no KMS key is allowed: ` +
      "a row that names it was made for another configuration"
    : `Field ${field} names a KMS key that is not among the allowed ones`;
}

/**
 * The allowed key that a request selects. With one allowed key, the request need not name it.
 *
 * @throws {EnclaveError} `key_not_allowed` when no key or more than one matches.
 */
export function selectKey(allowed: readonly KeyArn[], selection: KeySelection): KeyArn {
  const { key, region } = selection;
  const [first, second] = allowed.filter((candidate) =>
    (key === undefined || key === candidate.arn || key === candidate.id) &&
    (region === undefined || region === candidate.region)
  );
  if (first !== undefined && second === undefined) return first;
  const [message, hint] = allowed.length === 0
    ? ["No KMS key is allowed", "Name the key in the measured configuration: --kms-key <arn> or KMS_KEYS."]
    : first === undefined
    ? [
      mismatch(allowed, selection),
      "Requests select among the keys of the measured configuration (--kms-key, KMS_KEYS), by ARN or key id, and the region must be the ARN's.",
    ]
    : ["Several KMS keys are allowed and the request does not say which", "Add kms_key_id to the request."];
  throw new EnclaveError(message, { code: "key_not_allowed", hint });
}
