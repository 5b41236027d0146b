/**
 * Names of KMS keys in a development configuration, which may also be aliases or ids. Not in the graph of the production entry, since whoever
 * can move an alias could choose the key.
 *
 * @module
 */
import { type KeyArn, parseKeyArn } from "./key_arn.ts";
import { partitionOf } from "./partitions.ts";
import { isRegion } from "./region.ts";
import { EnclaveError } from "../errors.ts";

const ALIAS = /^(?:arn:(aws[a-z-]*):kms:([^:]+):([0-9]{12}):)?(alias\/[A-Za-z0-9/_-]{1,250})$/;
const ID = /^(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
/** Placeholder for the account, which only KMS knows. Rows are bound to it, so a row that was made under an alias opens only under the same alias. */
const UNKNOWN_ACCOUNT = "000000000000";

/**
 * Reads a key's ARN, an alias's ARN, an alias or a key's id. `arn` of the result is the given text, which is sent to KMS.
 *
 * @param region of an alias or id, which do not contain it
 * @throws {EnclaveError} `invalid_key_arn`
 */
export function parseDevelopmentKey(text: string, region: string): KeyArn {
  const own = partitionOf(region).name;
  const [alias, partition = own, aliasRegion = region, account = UNKNOWN_ACCOUNT, name] = ALIAS.exec(text) ??
    [];
  if (
    alias !== undefined && name !== undefined && isRegion(aliasRegion) &&
    partitionOf(aliasRegion).name === partition
  ) return { arn: text, partition, region: aliasRegion, account, id: name };
  if (ID.test(text)) return { arn: text, partition: own, region, account: UNKNOWN_ACCOUNT, id: text };
  if (text.startsWith("arn:") && !text.includes("alias/")) return parseKeyArn(text);
  throw new EnclaveError(`Cannot use ${JSON.stringify(text.slice(0, 128))} as a KMS key`, {
    code: "invalid_key_arn",
    hint: "Give the key's ARN, its id, or an alias such as alias/mine.",
  });
}
