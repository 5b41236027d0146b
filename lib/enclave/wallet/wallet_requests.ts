/**
 * Parses the wallet's requests.
 *
 * @module
 */
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { BOUND_KEY_VERSION } from "../../shared/crypto/bound_key.ts";
import { type EthereumAddress, parseAddress } from "../../shared/crypto/ethereum_address.ts";
import { parsePayload, type Payload, PAYLOAD_KINDS } from "./ethereum/payload.ts";
import { PayloadError } from "../../shared/crypto/payload_error.ts";
import {
  base64Field,
  isGiven,
  keySelection,
  parseNonce,
  SEALED_KEY_RANGE,
  WRAPPED_KEY_RANGE,
} from "../server/fields.ts";
import { field, requiredString, WireError, type WireObject } from "../../shared/wire/messages.ts";

/** Items of a batch. */
export const MAX_BATCH = 1_000;
/** Characters of an account's name. */
const MAX_NAME_LENGTH = 128;

/** The account and its KMS key. */
export interface AccountSelection {
  readonly name: string;
  /** One of the allowed keys; optional where only one is allowed. */
  readonly selection: KeySelection;
}

/** A parsed `generateAccount`. */
export interface GenerateRequest extends AccountSelection {
  readonly nonce: Uint8Array<ArrayBuffer> | undefined;
}

/** The stored row of an account. */
export interface AccountRow extends AccountSelection {
  readonly address: EthereumAddress;
  readonly encryptedPrivateKey: Uint8Array<ArrayBuffer>;
  readonly encryptedDataKey: Uint8Array<ArrayBuffer>;
}

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

/** Names are shown, stored and bound: well-formed text without control characters or space at its ends. */
function parseName(request: WireObject): string {
  const name = requiredString(request, "name", "the account's name");
  if (name.length > MAX_NAME_LENGTH || !name.isWellFormed() || /\p{Cc}|^\s|\s$/u.test(name)) {
    throw new WireError(
      "missing_fields",
      `Field name must have at most ${MAX_NAME_LENGTH} characters, none of them a control character or a space at an end`,
    );
  }
  return name;
}

function parseSelection(request: WireObject): AccountSelection {
  return {
    name: parseName(request),
    selection: keySelection(request, ["key_id", "keyId", "kms_key_id"]),
  };
}

/** @throws {WireError} that names the field. */
export function parseGenerateRequest(request: WireObject): GenerateRequest {
  return { ...parseSelection(request), nonce: parseNonce(request) };
}

function checkVersion(request: WireObject): void {
  const version = field(request, "version") ?? BOUND_KEY_VERSION;
  // Stored rows may have it as text.
  if (version === BOUND_KEY_VERSION || version === String(BOUND_KEY_VERSION)) return;
  throw new WireError(
    "row_rejected",
    `Field version must be ${BOUND_KEY_VERSION}: this build knows no other version of rows`,
  );
}

/** The items of a batch, not parsed; undefined for a single payload. @throws {PayloadError} */
function itemsOf(request: WireObject): readonly unknown[] | undefined {
  const items = field(request, "items") ?? undefined;
  if (items === undefined) return undefined;
  for (const kind of PAYLOAD_KINDS) {
    if (isGiven(request, kind)) {
      throw new PayloadError(`Give items, or one of ${PAYLOAD_KINDS.join(", ")}, not both`);
    }
  }
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
  checkVersion(request);
  const address = parseAddress(field(request, "address"), "address");
  const row: AccountRow = {
    ...parseSelection(request),
    address,
    encryptedPrivateKey: base64Field(
      request,
      "encryptedPrivateKey",
      "the sealed private key",
      SEALED_KEY_RANGE,
    ),
    encryptedDataKey: base64Field(
      request,
      "encryptedDataKey",
      "the data key as KMS wrapped it",
      WRAPPED_KEY_RANGE,
    ),
  };
  const items = itemsOf(request);
  if (items !== undefined) return { ...row, payload: undefined, items };
  return { ...row, payload: parsePayload(request, address.text), items: [] };
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
    if (typeof item !== "object" || item === null || Array.isArray(item)) {
      throw new PayloadError(`Field items[${index}] must be an object`);
    }
    payloads.push(ofItem(index, () => parsePayload(item as WireObject, address.text)));
  }
  return payloads;
}
