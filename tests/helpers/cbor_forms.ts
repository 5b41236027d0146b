/**
 * Other encodings of the same CBOR values: heads wider than need be, arrays and maps of indefinite length. By
 * RFC 8949, not by the program's encoder.
 *
 * @module
 */
type Bytes = Uint8Array<ArrayBuffer>;

/** Picks one of so many possibilities. */
export type Choose = (below: number) => number;

/** Every array and map of indefinite length, every head in its shortest form. */
export const INDEFINITE: Choose = (below) => (below === 2 ? 1 : 0);
/** Every head nine bytes long, and definite lengths. */
export const WIDEST: Choose = (below) => (below === 2 ? 0 : below - 1);

const WIDTHS = [0, 1, 2, 4, 8] as const;

/** A head in one of the widths that hold its number. */
function head(major: number, value: number | bigint, choose: Choose): number[] {
  const number = BigInt(value);
  const fits = WIDTHS.filter((width) => number < (width === 0 ? 24n : 1n << BigInt(8 * width)));
  const width = fits[choose(fits.length)] ?? 8;
  if (width === 0) return [major << 5 | Number(number)];
  const bytes = Array.from(
    { length: width },
    (_, index) => Number(number >> BigInt(8 * (width - 1 - index)) & 0xffn),
  );
  return [major << 5 | 24 + Math.log2(width), ...bytes];
}

function container(major: 4 | 5, count: number, items: readonly number[], choose: Choose): number[] {
  return choose(2) === 1 ? [major << 5 | 31, ...items, 0xff] : [...head(major, count, choose), ...items];
}

function numbers(value: unknown, choose: Choose): number[] {
  if (value === null) return [0xf6];
  if (typeof value === "boolean") return [value ? 0xf5 : 0xf4];
  if (typeof value === "number" || typeof value === "bigint") {
    return value < 0 ? head(1, -1n - BigInt(value), choose) : head(0, value, choose);
  }
  if (typeof value === "string") {
    const text = new TextEncoder().encode(value);
    return [...head(3, text.length, choose), ...text];
  }
  if (value instanceof Uint8Array) return [...head(2, value.length, choose), ...value];
  if (Array.isArray(value)) {
    return container(4, value.length, value.flatMap((item) => numbers(item, choose)), choose);
  }
  const pairs = value instanceof Map ? [...value] : Object.entries(value ?? {});
  return container(
    5,
    pairs.length,
    pairs.flatMap((pair) => pair.flatMap((item) => numbers(item, choose))),
    choose,
  );
}

/** Encodes null, booleans, integers, texts, `Uint8Array`s, arrays, and maps or plain objects of these. */
export function encodeForm(value: unknown, choose: Choose): Bytes {
  return Uint8Array.from(numbers(value, choose));
}
