/**
 * Typed structured data (EIP-712) as `eth_signTypedData_v4` accepts it. Parsed strictly and bounded here, encoded by micro-eth-signer: its run time
 * grows with the length of type names and cubically with the number of types (measured: 250 types that refer to each other hold the thread for
 * 0.3 s, one type with 100,000 brackets for 4 s), and it signs values that other implementations reject.
 *
 * @module
 */
import type { signTyped } from "micro-eth-signer";
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
  readonly typed: Parameters<typeof signTyped>[0];
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

/** Far above practical use: a Seaport order has 6 types and about 40 values. */
const LIMITS = {
  types: 32,
  fields: 256,
  nameLength: 64,
  depth: 16,
  values: 4_000,
  bytes: 256 * 1024,
} as const;

const IDENTIFIER = /^[A-Za-z_$][A-Za-z0-9_$]{0,63}$/;
/** Names of types that are not structs, including `uint` and `int` without a width, since the standard has no such aliases. */
const ELEMENTARY = /^(string|bool|address|bytes[0-9]*|u?int[0-9]*)$/;

/** A name with up to four dimensions: `Order[2][]` is an array, of any length, of arrays of two orders. */
const TYPE = /^[A-Za-z_$][A-Za-z0-9_$]{0,63}(\[([1-9][0-9]{0,8})?\]){0,4}$/;
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
    if (typeof name !== "string" || !IDENTIFIER.test(name) || names.has(name)) {
      return refuse(`${here}.name`, "must be an identifier, once in its type");
    }
    if (typeof type !== "string" || !TYPE.test(type)) {
      return refuse(`${here}.type`, "must be a type of EIP-712, with at most 4 dimensions");
    }
    names.add(name);
    return { name, type };
  });
}

function parseStructs(types: JsonObject): Structs {
  const names = Object.keys(types);
  if (names.length > LIMITS.types) refuse("typedData.types", `has more than ${LIMITS.types} types`);
  const structs = new Map<string, readonly Field[]>();
  let count = 0;
  for (const name of names) {
    if (!IDENTIFIER.test(name) || ELEMENTARY.test(name)) {
      refuse("typedData.types", "has a type whose name is not a struct name");
    }
    const fields = parseFields(types[name], `typedData.types.${name}`);
    count += fields.length;
    if (count > LIMITS.fields) refuse("typedData.types", `has more than ${LIMITS.fields} fields`);
    structs.set(name, fields);
  }
  for (const [struct, fields] of structs) {
    for (const { name, type } of fields) {
      const [base = ""] = type.split("[");
      if (structs.has(base) || elementOf(base) !== undefined) continue;
      refuse(`typedData.types.${struct}.${name}`, `has an unknown type: ${base}`);
    }
  }
  return structs;
}

/** Reads a value of an elementary type; undefined if the name is of none. */
function elementOf(base: string): ((value: unknown, path: string) => unknown) | undefined {
  const [, kind, digits] = /^(int|uint|bytes)([1-9][0-9]{0,2})$/.exec(base) ?? [];
  const size = Number(digits);
  if (kind === "bytes" && size <= 32) return (value, path) => parseHex(value, path, { length: size });
  if (kind !== "bytes" && size <= 256 && size % 8 === 0) {
    return (value, path) => parseInteger(value, path, { bits: size, signed: kind === "int" });
  }
  return Object.hasOwn(ELEMENTS, base) ? ELEMENTS[base] : undefined;
}

/** The elementary types without a size. */
const ELEMENTS: Readonly<Record<string, (value: unknown, path: string) => unknown>> = {
  string: (value, path) =>
    typeof value === "string" && value.isWellFormed() ? value : refuse(path, "must be well-formed text"),
  bool: (value, path) => typeof value === "boolean" ? value : refuse(path, "must be true or false"),
  address: (value, path) => parseAddress(value, path).text,
  bytes: (value, path) => parseHex(value, path, { max: LIMITS.bytes }),
};

/** What reads a struct's values by their types, and counts them. */
function structReader(structs: Structs) {
  let [values, bytes] = [0, 0];
  const readValue = (type: string, value: unknown, path: string, depth: number): unknown => {
    if (++values > LIMITS.values) return refuse(path, `is beyond ${LIMITS.values} values`);
    const [, items, length = ""] = OUTER_DIMENSION.exec(type) ?? [];
    if (items !== undefined) {
      if (!Array.isArray(value) || (length !== "" && value.length !== Number(length))) {
        return refuse(path, `must be an array${length && ` of ${length}`}`);
      }
      return value.map((each: unknown, index) => readValue(items, each, `${path}[${index}]`, depth));
    }
    if (structs.has(type)) return readStruct(type, value, path, depth);
    if (typeof value === "string" && (type === "string" || type === "bytes")) {
      bytes += type === "bytes" ? value.length / 2 : value.length;
      if (bytes > LIMITS.bytes) refuse(path, `is beyond ${LIMITS.bytes} bytes of text`);
    }
    return elementOf(type)?.(value, path);
  };
  const readStruct = (struct: string, value: unknown, path: string, depth = 0): JsonObject => {
    const fields = structs.get(struct) ?? [];
    if (!isObject(value)) return refuse(path, `must be an object, a ${struct}`);
    if (depth > LIMITS.depth) return refuse(path, `is nested deeper than ${LIMITS.depth}`);
    for (const given of Object.keys(value)) {
      if (fields.some(({ name }) => name === given)) continue;
      return refuse(`${path}.${given.slice(0, LIMITS.nameLength)}`, `is not a field of ${struct}`);
    }
    return Object.fromEntries(fields.map(({ name, type }) => {
      const here = `${path}.${name}`;
      if (!Object.hasOwn(value, name)) return refuse(here, "is missing");
      return [name, readValue(type, value[name], here, depth + 1)];
    }));
  };
  return readStruct;
}

/**
 * Reads the domain. Its entry in `types` must list exactly its fields, with the standard's types: otherwise a rule would check other bytes than are
 * signed.
 */
function readDomain(given: JsonObject, declared: readonly Field[] | undefined) {
  const fields: readonly Field[] = Object.entries(DOMAIN_TYPES)
    .filter(([name]) => Object.hasOwn(given, name))
    .map(([name, type]) => ({ name, type }));
  const domain = structReader(new Map([[DOMAIN, fields]]))(DOMAIN, given, "typedData.domain");
  const fits = declared?.length === fields.length &&
    declared.every(({ name, type }) => Object.hasOwn(domain, name) && DOMAIN_TYPES[name] === type);
  if (declared !== undefined && !fits) {
    refuse(`typedData.types.${DOMAIN}`, "must list exactly the domain's fields, with the types of EIP-712");
  }
  return { fields, domain };
}

/**
 * Reads typed data and checks every value against its type.
 *
 * @throws {PayloadError} that names the field.
 */
export function parseTypedData(input: unknown): ParsedTypedData {
  if (!isObject(input)) return refuse("typedData", "must be an object {types, primaryType, domain, message}");
  const structs = parseStructs(objectField(input, "types"));
  const given = objectField(input, "domain");
  const primaryType = field(input, "primaryType");
  if (typeof primaryType !== "string" || !structs.has(primaryType) || primaryType === DOMAIN) {
    return refuse("typedData.primaryType", "must name one of typedData.types");
  }
  const { fields, domain } = readDomain(given, structs.get(DOMAIN));
  const message = structReader(structs)(primaryType, objectField(input, "message"), "typedData.message");
  const types = { [DOMAIN]: fields, ...Object.fromEntries(structs) };
  // Read by the types of the standard.
  const { chainId, verifyingContract } = domain as Partial<TypedDataIntent>;
  return {
    intent: { chainId, verifyingContract, primaryType },
    // The order of the domain's fields is part of its hash: the declared one, or the standard's.
    typed: { types, domain, message, primaryType } as never,
  };
}
