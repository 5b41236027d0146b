/** Hex and base64: a table of cases, with and without the runtime's own functions. The original of `@std/encoding` passes it too. */
import { assertEquals, assertThrows } from "@std/assert";
import { timingSafeEqual } from "@std/crypto";
import { decodeBase64, decodeHex, encodeBase64, encodeHex } from "@std/encoding";

const bytes = (...values: number[]) => new Uint8Array(values);
const ALL = Uint8Array.from({ length: 256 }, (_, n) => n);

const ENCODED: readonly (readonly [Uint8Array, string, string])[] = [
  [bytes(), "", ""],
  [bytes(0xfb), "fb", "+w=="],
  [bytes(0xff, 0xef), "ffef", "/+8="],
  [bytes(1, 2, 3), "010203", "AQID"],
  [bytes(9, 1, 2, 9).subarray(1, 3), "0102", "AQI="],
];
/** Undefined where the text is refused. */
const HEX: readonly (readonly [string, Uint8Array | undefined])[] = [
  ["", bytes()],
  ["AbCd", bytes(0xab, 0xcd)],
  ...["a", "abc", "0g", "0x", " ab ", "ab\ncd", "é", "aé"].map((text) => [text, undefined] as const),
];
const BASE64: readonly (readonly [string, Uint8Array | undefined])[] = [
  ["", bytes()],
  ["AQID", bytes(1, 2, 3)],
  ["AQI=", bytes(1, 2)],
  ["AQ==", bytes(1)],
  // Padding may be missing, and the bits that it covers are not looked at.
  ["AQI", bytes(1, 2)],
  ["AQ", bytes(1)],
  ["AQ=", bytes(1)],
  ["AR==", bytes(1)],
  ["==", bytes()],
  ...["A", "AQIDB", "AQ===", "A=Q=", "=AQI", "AQ==AQ==", "AQI=\n", "AQID\nAQID", "AQ ID AQ", " AQID", "A\tQI"]
    .map((text) => [text, undefined] as const),
  ...["-_-_", "AQé", "éAQI"].map((text) => [text, undefined] as const),
];

function checkAll(): void {
  for (const [data, hex, base64] of ENCODED) {
    assertEquals([encodeHex(data), encodeBase64(data)], [hex, base64]);
  }
  assertEquals([decodeHex(encodeHex(ALL)), decodeBase64(encodeBase64(ALL))], [ALL, ALL]);
  for (const [decode, cases] of [[decodeHex, HEX], [decodeBase64, BASE64]] as const) {
    for (const [text, expected] of cases) {
      if (expected !== undefined) assertEquals(decode(text), expected, JSON.stringify(text));
      else assertThrows(() => decode(text), Error, "", JSON.stringify(text));
    }
  }
}

Deno.test("hex and base64 are made and read as @std/encoding does, with what it refuses", checkAll);

Deno.test("the same holds where the runtime has no such functions of its own", () => {
  const own = [
    [Uint8Array, ["fromHex", "fromBase64"]],
    [Uint8Array.prototype, ["toHex", "toBase64"]],
  ] as const;
  const removed = own.flatMap(([owner, names]) =>
    names.map((name) => [owner, name, Object.getOwnPropertyDescriptor(owner, name) ?? {}] as const)
  );
  for (const [owner, name] of removed) assertEquals(Reflect.deleteProperty(owner, name), true);
  try {
    assertEquals("toHex" in ALL || "fromBase64" in Uint8Array, false);
    checkAll();
  } finally {
    for (const [owner, name, descriptor] of removed) Object.defineProperty(owner, name, descriptor);
  }
});

Deno.test("bytes of one length are compared; bytes of different lengths are a mistake of the caller's", () => {
  assertEquals([timingSafeEqual(bytes(1, 2), bytes(1, 2)), timingSafeEqual(bytes(1, 2), bytes(1, 3))], [
    true,
    false,
  ]);
  assertThrows(() => timingSafeEqual(bytes(1), bytes(1, 2)), TypeError);
});
