/**
 * Authorizations of EIP-7702: an account lets the code of a contract act in its name, on one chain, or on
 * every chain with the id 0.
 *
 * @module
 */
import { parseAddress } from "../../../shared/crypto/ethereum_address.ts";
import { refuse } from "../../../shared/crypto/payload_error.ts";
import { isLowSignature } from "../../../shared/crypto/secp256k1.ts";
import { field, isObject } from "../../../shared/json.ts";
import { parseInteger } from "./quantity.ts";

/** A parsed authorization, which the wallet's rules check. */
export interface Authorization {
  /** 0 for every chain. */
  readonly chainId: bigint;
  /** The contract, with its checksum. */
  readonly address: string;
  /** Of the account that delegates. */
  readonly nonce: bigint;
}

const BITS = { chainId: 64, nonce: 64 } as const;
const SIGNED_BITS = { ...BITS, yParity: 1, r: 256, s: 256 } as const;
/** EIP-2681. */
const MAX_NONCE = 2n ** 64n - 2n;

/**
 * The largest chain id for which `v` (2 * id + 36) is still an exact JSON number; other wallets have the same
 * limit.
 */
export const MAX_CHAIN_ID: bigint = (BigInt(Number.MAX_SAFE_INTEGER) - 36n) / 2n;

function parseFields<F extends string>(input: unknown, name: string, bits: Readonly<Record<F, number>>) {
  const names = ["address", ...Object.keys(bits)];
  if (!isObject(input)) return refuse(name, `must be {${names.join(", ")}}`);
  for (const given of Object.keys(input)) {
    if (!names.includes(given)) refuse(`${name}.${given}`, "does not belong to an authorization");
  }
  const numbers = Object.entries<number>(bits).map(([key, bits]) =>
    [key, parseInteger(field(input, key), `${name}.${key}`, { bits })] as const
  );
  const address = parseAddress(field(input, "address"), `${name}.address`).text;
  const fields = { address, ...Object.fromEntries(numbers) as Record<F | keyof typeof BITS, bigint> };
  if (fields.chainId > MAX_CHAIN_ID) refuse(`${name}.chainId`, `must be from 0 to ${MAX_CHAIN_ID}`);
  if (fields.nonce > MAX_NONCE) refuse(`${name}.nonce`, `must be from 0 to ${MAX_NONCE}`);
  return fields;
}

/** Reads an authorization to sign. @throws {PayloadError} that names the field. */
export function parseAuthorization(input: unknown): Authorization {
  return parseFields(input, "authorization", BITS);
}

/** Reads an authorization that some account has signed. @throws {PayloadError} that names the field. */
export function parseSignedAuthorization(input: unknown, name: string) {
  const { yParity, ...fields } = parseFields(input, name, SIGNED_BITS);
  if (!isLowSignature(fields.r, fields.s)) refuse(name, "has no valid signature: r or s is out of range");
  return { ...fields, yParity: Number(yParity) };
}
