/**
 * Parses the wallet's requests.
 *
 * @module
 */
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { BOUND_KEY_VERSION } from "../../shared/crypto/bound_key.ts";
import { type EthereumAddress, parseAddress } from "../../shared/crypto/ethereum_address.ts";
import { PayloadError } from "../../shared/crypto/payload_error.ts";
import { isGiven, readFields, type Values } from "../../shared/wire/fields.ts";
import { isObject } from "../../shared/json.ts";
import { field, WireError, type WireObject } from "../../shared/wire/messages.ts";
import { ACCOUNT_ROW, GENERATE_ACCOUNT, REWRAP_ACCOUNT } from "../../shared/wire/requests.ts";
import { keySelection } from "../server/fields.ts";
import { parsePayload, type Payload, PAYLOAD_KINDS } from "./ethereum/payload.ts";

/** Items of a batch. */
export const MAX_BATCH = 1_000;

/** A parsed `generateAccount`. */
export interface GenerateRequest extends Values<typeof GENERATE_ACCOUNT> {
  /** One of the allowed keys; optional where only one is allowed. */
  readonly selection: KeySelection;
}

/** The stored row of an account, without the KMS key that the request selects. */
export interface AccountRow extends Values<typeof ACCOUNT_ROW> {
  readonly selection: KeySelection;
  readonly address: EthereumAddress;
}

/** A parsed `rewrapAccount`. */
export type RewrapRequest = AccountRow & Values<typeof REWRAP_ACCOUNT>;

/** A parsed `sign`. */
export interface SignRequest extends AccountRow {
  /** Undefined where `items` are given: the reply then has `signatures`. */
  readonly payload: Payload | undefined;
  /**
   * The payloads of a batch, not parsed, because parsing a thousand at once would hold the thread: {@link
   * parseItems} does it in slices. Meanwhile they count towards the memory budget, as all of a `sign` does
   * until it is answered.
   */
  // deno-lint-ignore house/parsed-before-waiting
  readonly items: readonly unknown[];
}

function parseSelection(request: WireObject): KeySelection {
  return keySelection(request, ["key_id", "keyId", "kms_key_id"]);
}

/** @throws {WireError} that names the field. */
export function parseGenerateRequest(request: WireObject): GenerateRequest {
  return { ...readFields(request, GENERATE_ACCOUNT), selection: parseSelection(request) };
}

/** @throws {WireError | PayloadError} that names the field. */
function parseRow(request: WireObject): AccountRow {
  const version = field(request, "version") ?? BOUND_KEY_VERSION;
  // Stored rows may have it as text.
  if (version !== BOUND_KEY_VERSION && version !== String(BOUND_KEY_VERSION)) {
    const why = "this build knows no other version of rows";
    throw new WireError("row_rejected", `Field version must be ${BOUND_KEY_VERSION}: ${why}`);
  }
  const address = parseAddress(field(request, "address"), "address");
  return { ...readFields(request, ACCOUNT_ROW), selection: parseSelection(request), address };
}

/** @throws {WireError | PayloadError} that names the field. */
export function parseRewrapRequest(request: WireObject): RewrapRequest {
  return { ...parseRow(request), ...readFields(request, REWRAP_ACCOUNT) };
}

/** The items of a batch, not parsed; undefined for a single payload. @throws {PayloadError} */
function itemsOf(request: WireObject): readonly unknown[] | undefined {
  if (!isGiven(request, "items")) return undefined;
  for (const kind of PAYLOAD_KINDS) {
    if (!isGiven(request, kind)) continue;
    throw new PayloadError(`Give items, or one of ${PAYLOAD_KINDS.join(", ")}, not both`);
  }
  const items = field(request, "items");
  if (Array.isArray(items) && items.length > 0 && items.length <= MAX_BATCH) return items;
  throw new PayloadError(`Field items must be an array of 1 to ${MAX_BATCH} payloads`);
}

/** Runs a function for an item of a batch; its error names the item. */
export function ofItem<T>(index: number, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    const where = `items[${index}]`;
    if (thrown instanceof PayloadError) throw new PayloadError(`${where}: ${thrown.message}`, thrown.cause);
    if (thrown instanceof WireError) throw new WireError(thrown.code, `${where}: ${thrown.message}`);
    throw thrown;
  }
}

/** Reads a `sign`. @throws {WireError | PayloadError} that names the field. */
export function parseSignRequest(request: WireObject): SignRequest {
  const row = parseRow(request);
  const items = itemsOf(request);
  if (items !== undefined) return { ...row, payload: undefined, items };
  return { ...row, payload: parsePayload(request, row.address.text), items: [] };
}

/**
 * Reads the items of a batch.
 *
 * @param yieldTurn awaited between the items
 * @throws {PayloadError} that names the item and the field.
 */
export async function parseItems(
  { items, address }: SignRequest,
  yieldTurn: () => Promise<void>,
): Promise<readonly Payload[]> {
  const payloads: Payload[] = [];
  for (const [index, item] of items.entries()) {
    await yieldTurn();
    if (!isObject(item)) throw new PayloadError(`Field items[${index}] must be an object`);
    payloads.push(ofItem(index, () => parsePayload(item, address.text)));
  }
  return payloads;
}
