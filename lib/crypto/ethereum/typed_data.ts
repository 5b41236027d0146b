/**
 * Typed structured data (EIP-712) as `eth_signTypedData_v4` takes it. Encoded by micro-eth-signer, which bounds its depth and size.
 *
 * @module
 */
import type { signTyped } from "micro-eth-signer";
import { parseAddress } from "./address.ts";
import { PayloadError } from "./payload_error.ts";
import { parseQuantity } from "./quantity.ts";

/** What guards look at. */
export interface TypedDataIntent {
  readonly chainId: bigint | undefined;
  /** With its checksum. */
  readonly verifyingContract: string | undefined;
}

/** Typed data, read as far as it must be known before it is encoded. */
export interface ParsedTypedData {
  readonly intent: TypedDataIntent;
  readonly typed: Parameters<typeof signTyped>[0];
}

/** The fields that a domain may have, and their types (EIP-712, "Definition of domainSeparator"). */
const DOMAIN_FIELDS: Readonly<Record<string, string>> = {
  name: "string",
  version: "string",
  chainId: "uint256",
  verifyingContract: "address",
  salt: "bytes32",
};

type JsonObject = Readonly<Record<string, unknown>>;

function objectField(input: JsonObject, name: string): JsonObject {
  const value = Object.hasOwn(input, name) ? input[name] : undefined;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new PayloadError(`Field typedData.${name} must be an object`);
}

/** What `types` says of the domain must be what the domain has, under the standard's types: else a guard would look at other bytes than are signed. */
function checkDomainType(declared: unknown, domain: JsonObject): void {
  if (declared === undefined) return;
  const wants =
    "Field typedData.types.EIP712Domain must list exactly the domain's fields, with the types of EIP-712";
  if (!Array.isArray(declared)) throw new PayloadError(wants);
  const names = new Set<string>();
  for (const entry of declared as readonly unknown[]) {
    if (typeof entry !== "object" || entry === null || !("name" in entry) || !("type" in entry)) {
      throw new PayloadError(wants);
    }
    const { name, type } = entry;
    if (typeof name !== "string" || !Object.hasOwn(DOMAIN_FIELDS, name) || DOMAIN_FIELDS[name] !== type) {
      throw new PayloadError(wants);
    }
    names.add(name);
  }
  if (names.size !== declared.length || names.size !== Object.keys(domain).length) {
    throw new PayloadError(wants);
  }
  for (const name of Object.keys(domain)) if (!names.has(name)) throw new PayloadError(wants);
}

/** Numbers that JSON has rounded already must not be signed. */
function refuseRoundedNumbers(value: unknown): void {
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === "number" && !Number.isSafeInteger(next)) {
      throw new PayloadError(
        "Field typedData holds a number that JSON cannot keep exactly: write it as a decimal or 0x-hex string",
      );
    }
    if (typeof next === "object" && next !== null) {
      for (const inner of Object.values(next)) open.push(inner);
    }
  }
}

/**
 * Reads typed data. Whether the message fits its types shows when it is encoded.
 *
 * @throws {PayloadError} that names the field.
 */
export function parseTypedData(input: unknown): ParsedTypedData {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw new PayloadError("Field typedData must be an object {types, primaryType, domain, message}");
  }
  const object = input as JsonObject;
  const types = objectField(object, "types");
  const domain = objectField(object, "domain");
  const message = objectField(object, "message");
  const primaryType = Object.hasOwn(object, "primaryType") ? object["primaryType"] : undefined;
  if (
    typeof primaryType !== "string" || !Object.hasOwn(types, primaryType) || primaryType === "EIP712Domain"
  ) {
    throw new PayloadError("Field typedData.primaryType must name one of typedData.types");
  }
  for (const name of Object.keys(domain)) {
    if (!Object.hasOwn(DOMAIN_FIELDS, name)) {
      throw new PayloadError(`Field typedData.domain.${name.slice(0, 64)} is none of EIP-712's`);
    }
  }
  checkDomainType(Object.hasOwn(types, "EIP712Domain") ? types["EIP712Domain"] : undefined, domain);
  refuseRoundedNumbers(domain);
  refuseRoundedNumbers(message);
  const { chainId, verifyingContract } = domain;
  return {
    intent: {
      chainId: chainId === undefined ? undefined : parseQuantity(chainId, "typedData.domain.chainId", 256),
      verifyingContract: verifyingContract === undefined
        ? undefined
        : parseAddress(verifyingContract, "typedData.domain.verifyingContract").text,
    },
    typed: { types, domain, message, primaryType } as never,
  };
}
