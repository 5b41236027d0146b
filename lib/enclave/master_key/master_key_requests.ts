/**
 * Parses the master key's requests.
 *
 * @module
 */
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { isGiven, readFields, type Values } from "../../shared/wire/fields.ts";
import { WireError, type WireObject } from "../../shared/wire/messages.ts";
import { MASTER_KEY, MASTER_KEY_ROW, REWRAP } from "../../shared/wire/requests.ts";
import { keySelection } from "../server/fields.ts";
import type { WrappedKey } from "../server/wrapped_key.ts";

/** The stored row of a master key, without the KMS key that the request selects. */
export type StoredRow = Omit<WrappedKey, "key" | "subject"> & { readonly epoch: number };

/** A parsed `master_key.init` or `master_key.verify`. */
export interface InitRequest extends Values<typeof MASTER_KEY> {
  readonly selection: KeySelection;
  /** Undefined when there is none yet. */
  readonly row: StoredRow | undefined;
}

function parseRow(request: WireObject): StoredRow | undefined {
  const names = Object.keys(MASTER_KEY_ROW);
  const missing: string[] = [];
  for (const name of names) if (!isGiven(request, name)) missing.push(name);
  if (missing.length === names.length) return undefined;
  // An incomplete row is an error: treating it as no row would make a new key.
  if (missing.length > 0) {
    const remedy = "send the whole row, or none of it for a new key";
    throw new WireError("missing_fields", `Field ${missing.join(", ")} is missing: ${remedy}`);
  }
  const row = readFields(request, MASTER_KEY_ROW);
  return {
    encryptedDataKey: row.kms_encrypted_dek,
    encryptedPrivateKey: row.encrypted_private_key,
    publicPart: row.public_key,
    epoch: row.key_epoch,
  };
}

/** @throws {WireError} that names the field. */
export function parseInitRequest(request: WireObject): InitRequest {
  return {
    ...readFields(request, MASTER_KEY),
    selection: keySelection(request, ["kms_key_id"]),
    row: parseRow(request),
  };
}

/** A parsed `master_key.rewrap`. */
export interface RewrapRequest extends Values<typeof REWRAP> {
  /** The KMS key to wrap under. */
  readonly selection: KeySelection;
}

/** @throws {WireError} that names the field. */
export function parseRewrapRequest(request: WireObject): RewrapRequest {
  return { ...readFields(request, REWRAP), selection: keySelection(request, ["new_kms_key_id"]) };
}
