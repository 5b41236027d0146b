/**
 * Parses numbers and bytes of JSON: a quantity in hex (`0x5208`), a decimal string, or an exact JSON number; bytes as `0x` and hex.
 *
 * @module
 */
import { refuse } from "../../../shared/crypto/payload_error.ts";

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
  { bits, signed = false }: { readonly bits: number; readonly signed?: boolean },
): bigint {
  const range = signed ? `from -2^${bits - 1} to below 2^${bits - 1}` : `below 2^${bits}`;
  const wants = `must be a whole number ${range}: a decimal or 0x-hex string`;
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    return refuse(name, `${wants} (as a JSON number it has lost digits already)`);
  }
  if (typeof value === "number" || typeof value === "string" && (signed ? SIGNED : UNSIGNED).test(value)) {
    const number = BigInt(value);
    if ((signed ? BigInt.asIntN(bits, number) : BigInt.asUintN(bits, number)) === number) return number;
  }
  return refuse(name, wants);
}

/**
 * Reads bytes.
 *
 * @param name of the field, for the message
 * @param length for an exact number of bytes, else `max`
 * @returns `0x` and hex in lower case
 * @throws {PayloadError} that names the field.
 */
export function parseHex(
  value: unknown,
  name: string,
  { length, max = length ?? 0 }: { readonly length?: number; readonly max?: number },
): string {
  // The length is checked first, to keep the regular expression from running on megabytes.
  const fits = typeof value === "string" && value.length <= 2 + 2 * max && value.length % 2 === 0 &&
    (length === undefined || value.length === 2 + 2 * length) && /^0x[0-9a-fA-F]*$/.test(value);
  if (fits) return value.toLowerCase();
  return refuse(name, `must be 0x and hex of ${length === undefined ? "at most " : ""}${max} bytes`);
}
