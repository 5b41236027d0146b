/** The contract of `@std/crypto`, as far as this program uses it. */
import { assertEquals, assertThrows } from "@std/assert";
import { timingSafeEqual } from "@std/crypto";

const bytes = (...values: number[]) => new Uint8Array(values);

const COMPARED:
  readonly (readonly [ArrayBufferView | ArrayBuffer, ArrayBufferView | ArrayBuffer, boolean])[] = [
    [bytes(), bytes(), true],
    [bytes(1, 2), bytes(1, 2), true],
    [bytes(1, 2), bytes(1, 3), false],
    [bytes(0, 1, 2, 0).subarray(1, 3), bytes(1, 2), true],
    [bytes(1, 2).buffer, bytes(1, 2), true],
    [new DataView(bytes(0, 1, 2).buffer, 1), bytes(1, 2), true],
    [new Uint16Array([0x0101]), bytes(1, 1), true],
  ];

Deno.test("bytes of one length are compared, whatever holds them", () => {
  for (const [a, b, expected] of COMPARED) assertEquals(timingSafeEqual(a, b), expected);
});

Deno.test("bytes of different lengths are a mistake of the caller's", () => {
  assertThrows(() => timingSafeEqual(bytes(1), bytes(1, 2)), TypeError, "1 vs 2");
});
