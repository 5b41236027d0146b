/**
 * Fields of requests: of what type they are, for the protocol's document, and how they are read. `null` counts as absent.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import { field, requiredString, WireError, type WireObject } from "./messages.ts";

/** The type of a field. */
export interface FieldType {
  /** JSON's type; `id` is a string or a whole number, `any` is any value. */
  readonly type: "string" | "boolean" | "integer" | "number" | "object" | "array" | "id" | "any";
  /** Bytes are strings in one of these; for an array, what its items are. */
  readonly format?: "hex" | "base64" | "date-time" | "0x-hex";
  /** Bytes before encoding: exactly, or at least and at most. */
  readonly bytes?: number | readonly [number, number];
  /** The only allowed values. */
  readonly values?: readonly (string | number)[];
  /** Type of an array's items. */
  readonly items?: "string" | "object";
  /** May be absent. */
  readonly optional?: true;
}

/** A field that is read from a request. */
export interface Field<T, S extends FieldType = FieldType> {
  readonly spec: S;
  /** @throws {WireError} `missing_fields`, with the field's name. */
  readonly read: (request: WireObject, name: string) => T;
}

/** Fields by name. */
export type Fields = Readonly<Record<string, Field<unknown>>>;

/** The values of fields. */
export type Values<F extends Fields> = { readonly [K in keyof F]: ReturnType<F[K]["read"]> };

/** Whether a field is present and not null. */
export function isGiven(request: WireObject, name: string): boolean {
  return (field(request, name) ?? undefined) !== undefined;
}

/** Reads all fields; others are ignored. @throws {WireError} `missing_fields`, with the field's name. */
export function readFields<F extends Fields>(request: WireObject, fields: F): Values<F> {
  const values: Record<string, unknown> = {};
  for (const name in fields) values[name] = (fields[name] as Field<unknown>).read(request, name);
  return values as Values<F>;
}

function refuse(name: string, wants: string): never {
  throw new WireError("missing_fields", `Field ${name} ${wants}`);
}

/** A field that may be absent. */
export function optional<T, S extends FieldType>(
  { spec, read }: Field<T, S>,
): Field<T | undefined, S & { readonly optional: true }> {
  return {
    spec: { ...spec, optional: true },
    read: (request, name) => isGiven(request, name) ? read(request, name) : undefined,
  };
}

/** Text that is not empty. @param means describes it in errors, as for all that follow */
export function text(means: string): Field<string, { readonly type: "string" }> {
  return { spec: { type: "string" }, read: (request, name) => requiredString(request, name, means) };
}

/** Bytes in base64. */
export function base64<const B extends number | readonly [number, number]>(
  means: string,
  bytes: B,
): Field<Uint8Array<ArrayBuffer>, { readonly type: "string"; readonly format: "base64"; readonly bytes: B }> {
  const [min, max] = typeof bytes === "number" ? [bytes, bytes] : bytes;
  const read = (request: WireObject, name: string) => {
    const encoded = requiredString(request, name, `${means}, base64`);
    let value: Uint8Array<ArrayBuffer>;
    try {
      value = decodeBase64(encoded);
    } catch {
      return refuse(name, `must be base64 of ${means}`);
    }
    if (value.length >= min && value.length <= max) return value;
    return refuse(name, `must have ${min === max ? min : `${min} to ${max}`} bytes, not ${value.length}`);
  };
  return { spec: { type: "string", format: "base64", bytes }, read };
}

/** A field of a value that `take` gives back; undefined for one that it refuses. */
function taken<T, S extends FieldType>(
  spec: S,
  wants: string,
  take: (value: unknown) => T | undefined,
): Field<T, S> {
  return { spec, read: (request, name) => take(field(request, name)) ?? refuse(name, wants) };
}

/** A whole number. */
export function integer(min: number, max?: number): Field<number, { readonly type: "integer" }> {
  const wants = `must be a whole number from ${min}${max === undefined ? "" : ` to ${max}`}`;
  return taken(
    { type: "integer" },
    wants,
    (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= min ? value : undefined,
  );
}

/** True or false. */
export const BOOLEAN: Field<boolean, { readonly type: "boolean" }> = taken(
  { type: "boolean" },
  "must be true or false",
  (value) => typeof value === "boolean" ? value : undefined,
);

/** One of some words. */
export function choice<const V extends string>(
  values: readonly V[],
): Field<V, { readonly type: "string"; readonly values: readonly V[] }> {
  const wants = `must be ${values.join(" or ")}`;
  return taken({ type: "string", values }, wants, (value) => values.find((known) => known === value));
}

/** Text or a whole number, of at most 128 characters: a number and its decimal text are the same id. */
export const ID: Field<string, { readonly type: "id" }> = taken(
  { type: "id" },
  "must be a whole number, or a name of letters, digits, dots, colons, dashes and underscores",
  (value) => {
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return String(value);
    const isName = typeof value === "string" && /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/.test(value);
    return isName ? value : undefined;
  },
);

/** Names are shown, stored and bound: well-formed text without control characters or space at its ends. */
export const NAME: Field<string, { readonly type: "string" }> = {
  spec: { type: "string" },
  read: (request, name) => {
    const value = requiredString(request, name, "the account's name");
    // Cs are surrogates without their other half.
    if (value.length <= 128 && !/[\p{Cc}\p{Cs}]|^\s|\s$/u.test(value)) return value;
    const forbidden = "a control character or a space at an end";
    return refuse(name, `must have at most 128 characters, none of them ${forbidden}`);
  },
};
