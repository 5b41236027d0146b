/**
 * Typed structured data (EIP-712) as `eth_signTypedData_v4` accepts it, parsed strictly and within limits.
 * micro-eth-signer's encoder is not used: it takes only identifiers as names, while applications send others,
 * and it signs values that other implementations reject.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { concat } from "../../../shared/bytes.ts";
import { parseAddress } from "../../../shared/crypto/ethereum_address.ts";
import { refuse } from "../../../shared/crypto/payload_error.ts";
import { field, isObject, type JsonObject } from "../../../shared/json.ts";
import { parseHex, parseInteger } from "./quantity.ts";

/** The fields that the wallet's rules check. */
export interface TypedDataIntent {
  readonly chainId: bigint | undefined;
  /** With its checksum. */
  readonly verifyingContract: string | undefined;
  readonly primaryType: string;
}

/** Parsed typed data. */
export interface ParsedTypedData {
  readonly intent: TypedDataIntent;
  /** What is signed. 32 bytes. */
  readonly digest: Uint8Array;
}

/** The fields that a domain may have, and their types (EIP-712, "Definition of domainSeparator"), in the standard's order. */
const DOMAIN_TYPES: Readonly<Record<string, string>> = {
  name: "string",
  version: "string",
  chainId: "uint256",
  verifyingContract: "address",
  salt: "bytes32",
};
const DOMAIN = "EIP712Domain";

/**
 * Far above practical use: a Seaport order has 6 types and about 40 values. The length is that of all names
 * and types together.
 */
const LIMITS = {
  types: 32,
  fields: 256,
  length: 32 * 1024,
  depth: 16,
  values: 4_000,
  bytes: 256 * 1024,
} as const;

/** Identifiers, and colons, which Hyperliquid's names have. */
const TYPE_NAME = /^[A-Za-z_$][A-Za-z0-9_$:]{0,255}$/;
/** All text but what separates fields where a type is encoded, and characters that cannot be seen. */
const FIELD_NAME = /^[^\s,()\p{C}]{1,256}$/u;
/** Names of types that are not structs, including `uint` and `int` without a width, since the standard has no such aliases. */
const ELEMENTARY = /^(string|bool|address|bytes[0-9]*|u?int[0-9]*)$/;

/** A name with up to 24 dimensions: `Order[2][]` is an array, of any length, of arrays of two orders. */
const TYPE = /^[A-Za-z_$][A-Za-z0-9_$:]{0,255}(\[([1-9][0-9]{0,8})?\]){0,24}$/;
const OUTER_DIMENSION = /^(.+)\[([0-9]*)\]$/;

interface Field {
  readonly name: string;
  readonly type: string;
}

type Structs = ReadonlyMap<string, readonly Field[]>;

function objectField(input: JsonObject, name: string): JsonObject {
  const value = field(input, name);
  return isObject(value) ? value : refuse(`typedData.${name}`, "must be an object");
}

function parseFields(fields: unknown, path: string): readonly Field[] {
  if (!Array.isArray(fields)) return refuse(path, "must be an array of {name, type}");
  const names = new Set<string>();
  return fields.map((field: unknown, index) => {
    const here = `${path}[${index}]`;
    if (!isObject(field)) return refuse(here, "must be {name, type}");
    const { name, type } = field;
    if (typeof name !== "string" || !FIELD_NAME.test(name) || names.has(name)) {
      return refuse(`${here}.name`, "must be text without spaces, commas and brackets, once in its type");
    }
    if (typeof type !== "string" || !TYPE.test(type)) {
      return refuse(`${here}.type`, "must be a type of EIP-712, with at most 24 dimensions");
    }
    names.add(name);
    return { name, type };
  });
}

function parseStructs(types: JsonObject): Structs {
  const names = Object.keys(types);
  if (names.length > LIMITS.types) refuse("typedData.types", `has more than ${LIMITS.types} types`);
  const structs = new Map<string, readonly Field[]>();
  let [count, length] = [0, 0];
  for (const name of names) {
    if (!TYPE_NAME.test(name) || ELEMENTARY.test(name)) {
      refuse("typedData.types", "has a type whose name is not a struct name");
    }
    const fields = parseFields(types[name], `typedData.types.${name}`);
    count += fields.length;
    if (count > LIMITS.fields) refuse("typedData.types", `has more than ${LIMITS.fields} fields`);
    length += [name, ...fields.flatMap(({ name, type }) => [name, type])].join("").length;
    if (length > LIMITS.length) refuse("typedData.types", `is longer than ${LIMITS.length} characters`);
    structs.set(name, fields);
  }
  for (const [struct, fields] of structs) {
    for (const { name, type } of fields) {
      const base = baseOf(type);
      const path = `typedData.types.${struct}.${name}`;
      if (!structs.has(base) && elementOf(base) === undefined) refuse(path, `has an unknown type: ${base}`);
      // viem and MetaMask leave the types of such members out of the hash, ethers and eth_account do not.
      if (!structs.has(base) || !`${struct}${base}`.includes(":")) continue;
      refuse(path, "has a struct as its type, which is not signed next to a colon in a type's name");
    }
  }
  return structs;
}

/** The type of an array's items in all of its dimensions. */
function baseOf(type: string): string {
  return type.split("[", 1)[0] ?? type;
}

function hashText(text: string): Uint8Array {
  return keccak_256(new TextEncoder().encode(text));
}

/** Big-endian, negative numbers as two's complement. */
function wordOf(value: bigint): Uint8Array {
  return decodeHex(BigInt.asUintN(256, value).toString(16).padStart(64, "0"));
}

/** Encodes a value of an elementary type to 32 bytes; undefined if the name is of none. */
function elementOf(base: string): ((value: unknown, path: string) => Uint8Array) | undefined {
  const [, kind, digits] = /^(int|uint|bytes)([1-9][0-9]{0,2})$/.exec(base) ?? [];
  const size = Number(digits);
  if (kind === "bytes" && size <= 32) {
    return (value, path) => decodeHex(parseHex(value, path, { length: size }).slice(2).padEnd(64, "0"));
  }
  if (kind !== "bytes" && size <= 256 && size % 8 === 0) {
    return (value, path) => wordOf(parseInteger(value, path, { bits: size, signed: kind === "int" }));
  }
  return Object.hasOwn(ELEMENTS, base) ? ELEMENTS[base] : undefined;
}

/** The elementary types without a size. */
const ELEMENTS: Readonly<Record<string, (value: unknown, path: string) => Uint8Array>> = {
  string: (value, path) =>
    typeof value === "string" && value.isWellFormed()
      ? hashText(value)
      : refuse(path, "must be well-formed text"),
  bool: (value, path) =>
    typeof value === "boolean" ? wordOf(BigInt(value)) : refuse(path, "must be true or false"),
  address: (value, path) => wordOf(BigInt(parseAddress(value, path).text)),
  bytes: (value, path) => keccak_256(decodeHex(parseHex(value, path, { max: LIMITS.bytes }).slice(2))),
};

/** The hash of a struct's type, with those of the structs in it (EIP-712, "Definition of encodeType"). */
function typeHash(structs: Structs, struct: string): Uint8Array {
  const fieldsOf = (name: string) => structs.get(name) ?? [];
  const found = new Set([struct]);
  // The loop also visits what it adds.
  for (const name of found) {
    for (const { type } of fieldsOf(name)) if (structs.has(baseOf(type))) found.add(baseOf(type));
  }
  const [, ...others] = found;
  const texts = [struct, ...others.sort()].map((name) =>
    `${name}(${fieldsOf(name).map(({ name, type }) => `${type} ${name}`).join(",")})`
  );
  return hashText(texts.join(""));
}

/** What hashes structs by their types, and counts the values. */
function structHasher(structs: Structs, { ignoreUndeclared }: TypedDataOptions) {
  let [values, bytes] = [0, 0];
  const typeHashes = new Map<string, Uint8Array>();
  const encodeValue = (type: string, value: unknown, path: string, depth: number): Uint8Array => {
    if (++values > LIMITS.values) return refuse(path, `is beyond ${LIMITS.values} values`);
    const [, items, length = ""] = OUTER_DIMENSION.exec(type) ?? [];
    if (items !== undefined) {
      if (!Array.isArray(value) || (length !== "" && value.length !== Number(length))) {
        return refuse(path, `must be an array${length && ` of ${length}`}`);
      }
      const encode = (each: unknown, index: number) => encodeValue(items, each, `${path}[${index}]`, depth);
      return keccak_256(concat(value.map(encode)));
    }
    if (structs.has(type)) return hashStruct(type, value, path, depth);
    if (typeof value === "string" && (type === "string" || type === "bytes")) {
      bytes += type === "bytes" ? value.length / 2 : value.length;
      if (bytes > LIMITS.bytes) refuse(path, `is beyond ${LIMITS.bytes} bytes of text`);
    }
    return elementOf(type)?.(value, path) ?? refuse(path, "has an unknown type");
  };
  const hashStruct = (struct: string, value: unknown, path: string, depth = 0): Uint8Array => {
    const fields = structs.get(struct) ?? [];
    if (!isObject(value)) return refuse(path, `must be an object, a ${struct}`);
    if (depth > LIMITS.depth) return refuse(path, `is nested deeper than ${LIMITS.depth}`);
    for (const given of ignoreUndeclared ? [] : Object.keys(value)) {
      if (fields.some(({ name }) => name === given)) continue;
      return refuse(`${path}.${given.slice(0, 64)}`, `is not a field of ${struct}`);
    }
    const type = typeHashes.get(struct) ?? typeHash(structs, struct);
    typeHashes.set(struct, type);
    return keccak_256(concat([
      type,
      ...fields.map(({ name, type }) => {
        const here = `${path}.${name}`;
        if (!Object.hasOwn(value, name)) return refuse(here, "is missing");
        return encodeValue(type, value[name], here, depth + 1);
      }),
    ]));
  };
  return hashStruct;
}

/** How typed data is read. */
interface TypedDataOptions {
  /** Whether members that the types do not declare are left out, as other wallets do, instead of refused. */
  readonly ignoreUndeclared: boolean;
}

/**
 * The domain's fields, in the order that is hashed: the declared one, or the standard's. They have the
 * standard's types: otherwise a rule would check other bytes than are signed.
 */
function domainFields(given: JsonObject, declared: readonly Field[] | undefined): readonly Field[] {
  if (declared?.some(({ name, type }) => DOMAIN_TYPES[name] !== type)) {
    refuse(`typedData.types.${DOMAIN}`, "must list the domain's fields, with the types of EIP-712");
  }
  return declared ?? Object.entries(DOMAIN_TYPES)
    .filter(([name]) => Object.hasOwn(given, name))
    .map(([name, type]) => ({ name, type }));
}

/**
 * Reads typed data, checks every value against its type, and hashes it.
 *
 * @throws {PayloadError} that names the field.
 */
export function parseTypedData(input: unknown, options: TypedDataOptions): ParsedTypedData {
  if (!isObject(input)) return refuse("typedData", "must be an object {types, primaryType, domain, message}");
  const structs = parseStructs(objectField(input, "types"));
  const domain = objectField(input, "domain");
  const primaryType = field(input, "primaryType");
  if (typeof primaryType !== "string" || !structs.has(primaryType) || primaryType === DOMAIN) {
    return refuse("typedData.primaryType", "must name one of typedData.types");
  }
  const fields = domainFields(domain, structs.get(DOMAIN));
  const hashDomain = structHasher(new Map([[DOMAIN, fields]]), options);
  const hashMessage = structHasher(structs, options);
  const digest = keccak_256(concat([
    new Uint8Array([0x19, 0x01]),
    hashDomain(DOMAIN, domain, "typedData.domain"),
    hashMessage(primaryType, objectField(input, "message"), "typedData.message"),
  ]));
  /** Only what is hashed counts for the rules. */
  const hashed = <T>(name: string, read: (value: unknown, path: string) => T) =>
    fields.some((field) => field.name === name) ? read(domain[name], `typedData.domain.${name}`) : undefined;
  return {
    digest,
    intent: {
      chainId: hashed("chainId", (value, path) => parseInteger(value, path, { bits: 256 })),
      verifyingContract: hashed("verifyingContract", parseAddress)?.text,
      primaryType,
    },
  };
}
