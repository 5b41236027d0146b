/**
 * Transactions to sign: legacy with EIP-155, EIP-2930, EIP-1559, EIP-4844 (without the blobs), EIP-7702.
 * Parsed strictly, since an ignored field could change what is signed; encoded by micro-eth-signer.
 *
 * @module
 */
import { Transaction } from "micro-eth-signer";
import { messageOf } from "../../../shared/errors.ts";
import { parseAddress } from "../../../shared/crypto/ethereum_address.ts";
import { PayloadError, refuse } from "../../../shared/crypto/payload_error.ts";
import { field, isObject, type JsonObject } from "../../../shared/json.ts";
import { type Authorization, MAX_CHAIN_ID, parseSignedAuthorization } from "./authorization.ts";
import { parseHex, parseInteger } from "./quantity.ts";

/** Names of the types that can be signed, by their number. */
const TYPES = ["legacy", "eip2930", "eip1559", "eip4844", "eip7702"] as const;

/** The fields that the wallet's rules check. */
export interface TransactionIntent {
  readonly chainId: bigint;
  /** With its checksum; undefined for a contract's creation. */
  readonly to: string | undefined;
  /** Wei. */
  readonly value: bigint;
  /** `0x` and hex. */
  readonly data: string;
  /** The maximum cost of the gas, blob gas included. Wei. */
  readonly maxFee: bigint;
  /** Of EIP-7702. */
  readonly authorizations: readonly Authorization[];
}

/** A parsed transaction. */
export interface ParsedTransaction {
  readonly intent: TransactionIntent;
  /** Without a signature. Its type is not narrowed, since only its methods are used. */
  readonly unsigned: ReturnType<typeof Transaction.fromBytes>;
}

/** Bytes of call data: more than fits in a block or in a message. */
const MAX_DATA_LENGTH = 1024 * 1024;
/** Limits of one transaction: each address costs two hashes here, and gas on the chain. */
const MAX_ACCESS_LIST = { addresses: 256, storageKeys: 1_024 } as const;
const MAX_AUTHORIZATIONS = 64;
/** Of one transaction (EIP-7594). */
const MAX_BLOBS = 6;

const SHARED_FIELDS = ["type", "from", "chainId", "nonce", "gasLimit", "to", "value", "data"];
const FEES = ["maxPriorityFeePerGas", "maxFeePerGas"];
const FIELDS: Readonly<Record<(typeof TYPES)[number], readonly string[]>> = {
  legacy: [...SHARED_FIELDS, "gasPrice"],
  eip2930: [...SHARED_FIELDS, "gasPrice", "accessList"],
  eip1559: [...SHARED_FIELDS, ...FEES, "accessList"],
  eip4844: [...SHARED_FIELDS, ...FEES, "accessList", "maxFeePerBlobGas", "blobVersionedHashes"],
  eip7702: [...SHARED_FIELDS, ...FEES, "accessList", "authorizationList"],
};

/** Alternative names of the same field. */
const ALIASES: Readonly<Record<string, string>> = { gas: "gasLimit", input: "data" };

/** Own fields that are not null, under their canonical names. */
function normalise(input: JsonObject): ReadonlyMap<string, unknown> {
  const fields = new Map<string, unknown>();
  for (const [given, value] of Object.entries(input)) {
    if (value === null || value === undefined) continue;
    const name = Object.hasOwn(ALIASES, given) ? ALIASES[given] ?? given : given;
    if (fields.has(name) && fields.get(name) !== value) {
      throw new PayloadError(`Fields ${given} and ${name} of transaction say different things`);
    }
    fields.set(name, value);
  }
  return fields;
}

function typeOf(fields: ReadonlyMap<string, unknown>): (typeof TYPES)[number] {
  const given = fields.get("type");
  if (given === undefined) {
    if (fields.has("authorizationList")) return "eip7702";
    if (fields.has("blobVersionedHashes")) return "eip4844";
    if (fields.has("maxFeePerGas") || fields.has("maxPriorityFeePerGas")) return "eip1559";
    return fields.has("accessList") ? "eip2930" : "legacy";
  }
  const word = typeof given === "string" || typeof given === "number" ? String(given).toLowerCase() : "";
  return TYPES.find((name, index) => [name, `${index}`, `0x${index}`].includes(word)) ??
    refuse("transaction.type", `must be one of ${TYPES.join(", ")}, or its number from 0`);
}

function parseAccessList(value: unknown = [], name: string): unknown {
  const { addresses, storageKeys } = MAX_ACCESS_LIST;
  const wants =
    `must be an array of {address, storageKeys}, at most ${addresses} with ${storageKeys} keys in all`;
  if (!Array.isArray(value) || value.length > addresses) return refuse(name, wants);
  let count = 0;
  return value.map((entry: unknown, index) => {
    const keys = field(entry, "storageKeys");
    if (!Array.isArray(keys) || (count += keys.length) > storageKeys) return refuse(name, wants);
    return {
      address: parseAddress(field(entry, "address"), `${name}[${index}].address`).text,
      storageKeys: keys.map((key) => parseHex(key, `${name}[${index}].storageKeys`, { length: 32 })),
    };
  });
}

/** What reads an array of 1 to `max` items. */
function listOf(max: number, read: (item: unknown, name: string) => unknown) {
  return (value: unknown, name: string) => {
    if (!Array.isArray(value) || value.length < 1 || value.length > max) {
      return refuse(name, `must be an array of 1 to ${max} items`);
    }
    return value.map((item: unknown, index) => read(item, `${name}[${index}]`));
  };
}

function parseBlobHash(value: unknown, name: string): string {
  const hash = parseHex(value, name, { length: 32 });
  return hash.startsWith("0x01") ? hash : refuse(name, "must begin with 0x01 (a hash of a KZG commitment)");
}

/** Reads the fields that are lists. */
const LISTS: Readonly<Record<string, (value: unknown, name: string) => unknown>> = {
  accessList: parseAccessList,
  blobVersionedHashes: listOf(MAX_BLOBS, parseBlobHash),
  authorizationList: listOf(MAX_AUTHORIZATIONS, parseSignedAuthorization),
};

/**
 * Reads a transaction in the format of JSON-RPC and common libraries. Amounts are wei.
 *
 * @param from the address that will sign, with its checksum: where the transaction names one, it must be this
 * @throws {PayloadError} that names the field.
 */
export function parseTransaction(input: unknown, from: string): ParsedTransaction {
  if (!isObject(input)) return refuse("transaction", "must be an object");
  const fields = normalise(input);
  const type = typeOf(fields);
  for (const name of fields.keys()) {
    if (FIELDS[type].includes(name)) continue;
    refuse(`transaction.${name.slice(0, 64)}`, `does not belong to a transaction of type ${type}`);
  }
  const addressIn = (name: string) => parseAddress(fields.get(name), `transaction.${name}`).text;
  if (fields.has("from") && addressIn("from") !== from) {
    refuse("transaction.from", "is another address than the account's");
  }
  const number = (name: string, bits: number) =>
    fields.has(name)
      ? parseInteger(fields.get(name), `transaction.${name}`, { bits })
      : refuse(`transaction.${name}`, "is missing");
  const chainId = number("chainId", 64);
  if (chainId < 1n || chainId > MAX_CHAIN_ID) {
    refuse("transaction.chainId", `must be from 1 to ${MAX_CHAIN_ID}`);
  }
  const to = fields.has("to") && fields.get("to") !== "0x" ? addressIn("to") : undefined;
  const data = parseHex(fields.get("data") ?? "0x", "transaction.data", { max: MAX_DATA_LENGTH });
  if (to === undefined && (data === "0x" || type === "eip4844" || type === "eip7702")) {
    refuse("transaction.to", "is missing, and this transaction creates no contract");
  }
  const value = fields.has("value") ? number("value", 256) : 0n;
  const limits = { gasLimit: number("gasLimit", 64), nonce: number("nonce", 64) };
  const names = FIELDS[type].filter((name) => name === "gasPrice" || name.startsWith("max"));
  const gas = Object.fromEntries(names.map((name) => [name, number(name, 256)]));
  const { maxFeePerGas = 0n, maxPriorityFeePerGas = 0n } = gas;
  if (maxPriorityFeePerGas > maxFeePerGas) {
    refuse("transaction.maxPriorityFeePerGas", "is above maxFeePerGas");
  }
  const lists = Object.fromEntries(
    Object.entries(LISTS).filter(([name]) => FIELDS[type].includes(name))
      .map(([name, read]) => [name, read(fields.get(name), `transaction.${name}`)]),
  );
  try {
    // Not in its strict mode, which is for user input forms: the wallet's rules limit fees.
    const fields = { type, chainId, ...limits, to: to ?? "0x", value, data, ...gas, ...lists };
    const unsigned: ParsedTransaction["unsigned"] = Transaction.prepare(fields as never, false);
    const authorizations = "authorizationList" in unsigned.raw ? unsigned.raw.authorizationList : [];
    return { unsigned, intent: { chainId, to, value, data, maxFee: unsigned.fee, authorizations } };
  } catch (thrown) {
    throw new PayloadError(`Field transaction cannot be encoded: ${messageOf(thrown).slice(0, 200)}`, thrown);
  }
}
