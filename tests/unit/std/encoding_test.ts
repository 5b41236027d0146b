/**
 * The contract of `@std/encoding`, as far as this program uses it: a table of cases, for the functions that stand in for it, with and without the
 * runtime's own. With `deno.jsr.json`'s imports in place of `deno.json`'s, the same cases test the original.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { decodeBase64, decodeHex, encodeBase64, encodeHex } from "@std/encoding";

const bytes = (...values: number[]) => new Uint8Array(values);
const ALL = Uint8Array.from({ length: 256 }, (_, n) => n);

const ENCODED: readonly (readonly [string, ArrayBuffer | Uint8Array | string, string, string])[] = [
  ["nothing", bytes(), "", ""],
  ["one byte", bytes(0xfb), "fb", "+w=="],
  ["two bytes", bytes(0xff, 0xef), "ffef", "/+8="],
  ["three bytes", bytes(1, 2, 3), "010203", "AQID"],
  ["text", "fööbar", "66c3b6c3b6626172", "ZsO2w7ZiYXI="],
  ["an ArrayBuffer", bytes(0, 16, 255).buffer, "0010ff", "ABD/"],
  ["a part of a buffer", bytes(9, 1, 2, 9).subarray(1, 3), "0102", "AQI="],
];
const HEX: readonly (readonly [string, Uint8Array | typeof TypeError | typeof RangeError])[] = [
  ["", bytes()],
  ["00ff", bytes(0, 255)],
  ["AbCd", bytes(0xab, 0xcd)],
  ["a", RangeError],
  ["abc", RangeError],
  ["0g", TypeError],
  ["0x", TypeError],
  [" ab ", TypeError],
  ["ab\ncd", RangeError],
  ["é", TypeError],
  ["aé", RangeError],
];
const BASE64: readonly (readonly [string, Uint8Array | typeof TypeError | typeof RangeError])[] = [
  ["", bytes()],
  ["AQID", bytes(1, 2, 3)],
  ["AQI=", bytes(1, 2)],
  ["AQ==", bytes(1)],
  // Padding may be missing, and the bits that it covers are not looked at.
  ["AQI", bytes(1, 2)],
  ["AQ", bytes(1)],
  ["AQ=", bytes(1)],
  ["AR==", bytes(1)],
  ["=", bytes()],
  ["==", bytes()],
  ["A", RangeError],
  ["AQIDB", RangeError],
  ["AQ===", TypeError],
  ["A=Q=", TypeError],
  ["=AQI", TypeError],
  ["ABC=A", TypeError],
  ["AQ==AQ==", TypeError],
  ["AQI=\n", TypeError],
  ["AQID\nAQID", RangeError],
  ["AQ ID AQ", TypeError],
  [" AQID", RangeError],
  ["AQID\r\n", TypeError],
  ["A\tQI", TypeError],
  ["-_-_", TypeError],
  ["AQé", TypeError],
  ["éAQI", RangeError],
];

function checkAll(): void {
  for (const [what, data, hex, base64] of ENCODED) {
    assertEquals([encodeHex(data), encodeBase64(data)], [hex, base64], what);
  }
  assertEquals([decodeHex(encodeHex(ALL)), decodeBase64(encodeBase64(ALL))], [ALL, ALL]);
  for (const [decode, cases] of [[decodeHex, HEX], [decodeBase64, BASE64]] as const) {
    for (const [text, expected] of cases) {
      if (expected instanceof Uint8Array) assertEquals(decode(text), expected, JSON.stringify(text));
      else assertThrows(() => decode(text), expected, "", JSON.stringify(text));
    }
  }
}

Deno.test("hex and base64 are made and read as @std/encoding does, with what it refuses", checkAll);

Deno.test("the same holds where the runtime has no such functions of its own", () => {
  const removed: [object, string, PropertyDescriptor][] = [];
  for (
    const [owner, names] of [
      [Uint8Array, ["fromHex", "fromBase64"]],
      [Uint8Array.prototype, ["toHex", "toBase64"]],
    ] as const
  ) {
    for (const name of names) {
      const descriptor = Object.getOwnPropertyDescriptor(owner, name);
      if (descriptor !== undefined) removed.push([owner, name, descriptor]);
      assertEquals(Reflect.deleteProperty(owner, name), true);
    }
  }
  try {
    assertEquals("toHex" in ALL || "fromBase64" in Uint8Array, false);
    checkAll();
  } finally {
    for (const [owner, name, descriptor] of removed) Object.defineProperty(owner, name, descriptor);
  }
  assertEquals(removed.length, 4);
});
