/**
 * Combines the CRC-32 (IEEE 802.3, as in zlib) of two parts. The header contains the sections' sizes, so its CRC is known last.
 *
 * @module
 */

const POLYNOMIAL = 0xedb8_8320;

/** The product of two polynomials modulo the CRC's, bits reversed. */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product >>> 0;
}

/**
 * The CRC of a ‖ b.
 *
 * @param length bytes of b
 */
export function combineCrc(a: number, b: number, length: number): number {
  let power = 0x8000_0000; // 1
  let square = 0x0080_0000; // x^8: one byte
  for (let left = length; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = multiply(power, square);
    square = multiply(square, square);
  }
  return (multiply(power, a) ^ b) >>> 0;
}
