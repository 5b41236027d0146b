/**
 * Whole numbers as JSON has them: a quantity in hex (`0x5208`), a decimal string, or a number that JSON keeps exactly.
 *
 * @module
 */
import { PayloadError } from "./payload_error.ts";

const SHAPE = /^(0x[0-9a-fA-F]{1,64}|[0-9]{1,78})$/;

/**
 * Reads a whole number.
 *
 * @param name of the field, for the message
 * @param bits that it must fit into
 * @throws {PayloadError}
 */
export function parseQuantity(value: unknown, name: string, bits: number): bigint {
  const wants = `Field ${name} must be a whole number below 2^${bits}: a decimal or 0x-hex string`;
  let number: bigint;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) {
      throw new PayloadError(`${wants} (as a JSON number it has lost digits already)`);
    }
    number = BigInt(value);
  } else if (typeof value === "string" && SHAPE.test(value)) number = BigInt(value);
  else throw new PayloadError(wants);
  if (number < 0n || number >= 1n << BigInt(bits)) throw new PayloadError(wants);
  return number;
}
