/**
 * Parses numbers and bytes of JSON: a quantity in hex (`0x5208`), a decimal string, or an exact JSON number; bytes as `0x` and hex.
 *
 * @module
 */
import { PayloadError } from "../../../shared/crypto/payload_error.ts";

const UNSIGNED = /^(0x[0-9a-fA-F]{1,64}|[0-9]{1,78})$/;
const SIGNED = /^(0x[0-9a-fA-F]{1,64}|-?[0-9]{1,78})$/;

/**
 * Reads a whole number.
 *
 * @param name of the field, for the message
 * @throws {PayloadError} that names the field.
 */
export function parseInteger(
  value: unknown,
  name: string,
  { bits, signed }: { readonly bits: number; readonly signed: boolean },
): bigint {
  const range = signed ? `from -2^${bits - 1} to below 2^${bits - 1}` : `below 2^${bits}`;
  const wants = `Field ${name} must be a whole number ${range}: a decimal or 0x-hex string`;
  let number: bigint;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) {
      throw new PayloadError(`${wants} (as a JSON number it has lost digits already)`);
    }
    number = BigInt(value);
  } else if (typeof value === "string" && (signed ? SIGNED : UNSIGNED).test(value)) number = BigInt(value);
  else throw new PayloadError(wants);
  const fits = signed ? BigInt.asIntN(bits, number) === number : BigInt.asUintN(bits, number) === number;
  if (!fits) throw new PayloadError(wants);
  return number;
}

/**
 * Reads an unsigned whole number.
 *
 * @param name of the field, for the message
 * @param bits that it must fit into
 * @throws {PayloadError} that names the field.
 */
export function parseQuantity(value: unknown, name: string, bits: number): bigint {
  return parseInteger(value, name, { bits, signed: false });
}

/**
 * Reads bytes.
 *
 * @param name of the field, for the message
 * @param limits `length` for an exact number of bytes, else `max`
 * @returns `0x` and hex in lower case
 * @throws {PayloadError} that names the field.
 */
export function parseHex(
  value: unknown,
  name: string,
  limits: { readonly length?: number; readonly max?: number },
): string {
  const max = limits.length ?? limits.max ?? 0;
  const wants = `Field ${name} must be 0x and hex of ${
    limits.length === undefined ? "at most " : ""
  }${max} bytes`;
  // The length is checked first, to keep the regular expression from running on megabytes.
  if (typeof value !== "string" || value.length > 2 + 2 * max || value.length % 2 !== 0) {
    throw new PayloadError(wants);
  }
  if (!/^0x[0-9a-fA-F]*$/.test(value)) throw new PayloadError(wants);
  if (limits.length !== undefined && value.length !== 2 + 2 * limits.length) throw new PayloadError(wants);
  return value.toLowerCase();
}
