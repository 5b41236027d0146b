/** CBOR and COSE by their published examples: RFC 8949, Appendix A, and the COSE working group's ECDSA-sig-02 (ES384). */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { decodeCbor } from "../../../../lib/shared/attestation/cbor.ts";
import { parseSign1, signSign1, verifySign1 } from "../../../../lib/shared/attestation/cose.ts";

const LIMITS = { maxBytes: 1024, maxDepth: 4 } as const;
const bytes = (...values: number[]) => new Uint8Array(values);

/** RFC 8949, Appendix A: what a document may hold. */
const TAKEN: readonly (readonly [string, unknown])[] = [
  ["00", 0],
  ["01", 1],
  ["0a", 10],
  ["17", 23],
  ["1818", 24],
  ["1819", 25],
  ["1864", 100],
  ["1903e8", 1000],
  ["1a000f4240", 1_000_000],
  ["1b000000e8d4a51000", 1_000_000_000_000],
  ["20", -1],
  ["29", -10],
  ["3863", -100],
  ["3903e7", -1000],
  ["f4", false],
  ["f5", true],
  ["f6", null],
  ["40", bytes()],
  ["4401020304", bytes(1, 2, 3, 4)],
  ["60", ""],
  ["6161", "a"],
  ["6449455446", "IETF"],
  ["62225c", '"\\'],
  ["62c3bc", "ü"],
  ["63e6b0b4", "水"],
  ["64f0908591", "𐅑"],
  ["80", []],
  ["83010203", [1, 2, 3]],
  ["8301820203820405", [1, [2, 3], [4, 5]]],
  [
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
    Array.from({ length: 25 }, (_, index) => index + 1),
  ],
  ["a0", new Map()],
  ["a201020304", new Map([[1, 2], [3, 4]])],
  ["a26161016162820203", new Map<string, unknown>([["a", 1], ["b", [2, 3]]])],
  ["826161a161626163", ["a", new Map([["b", "c"]])]],
  ["1bffffffffffffffff", 2n ** 64n - 1n],
  ["3bffffffffffffffff", -(2n ** 64n)],
  ["9fff", []],
  ["9f018202039f0405ffff", [1, [2, 3], [4, 5]]],
  ["9f01820203820405ff", [1, [2, 3], [4, 5]]],
  ["83018202039f0405ff", [1, [2, 3], [4, 5]]],
  ["83019f0203ff820405", [1, [2, 3], [4, 5]]],
  [
    "9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
    Array.from({ length: 25 }, (_, index) => index + 1),
  ],
  ["bf61610161629f0203ffff", new Map<string, unknown>([["a", 1], ["b", [2, 3]]])],
  ["826161bf61626163ff", ["a", new Map([["b", "c"]])]],
  ["bf6346756ef563416d7421ff", new Map<string, unknown>([["Fun", true], ["Amt", -2]])],
];

/** Longer heads than need be, which RFC 8949 allows outside deterministic encoding (section 4.2). */
const LONG: readonly (readonly [string, unknown])[] = [
  ["1800", 0],
  ["190017", 23],
  ["1a00000001", 1],
  ["1b0000000000000001", 1],
  ["3800", -1],
  ["5b000000000000000101", bytes(1)],
  ["780161", "a"],
  ["98020102", [1, 2]],
  ["b900011801f5", new Map([[1, true]])],
];

for (const [hex, value] of [...TAKEN, ...LONG]) {
  Deno.test(`RFC 8949: ${hex.slice(0, 24)} is read`, () =>
    assertEquals(decodeCbor(decodeHex(hex), LIMITS), value));
}

/** RFC 8949, Appendix A: well-formed, and nothing that a document may hold; and Appendix F: not well-formed. */
const REFUSED: readonly (readonly [string, string])[] = [
  ["f90000", "a float"],
  ["fb3ff199999999999a", "a double"],
  ["f97e00", "NaN"],
  ["f97c00", "infinity"],
  ["f7", "undefined"],
  ["c074323031332d30332d32315432303a30343a30305a", "a tag"],
  ["c249010000000000000000", "a bignum"],
  ["5f42010243030405ff", "bytes of indefinite length"],
  ["7f657374726561646d696e67ff", "a text of indefinite length"],
  ["18", "a head that is cut off"],
  ["6261", "a text that is cut off"],
  ["8201", "an array that is cut off"],
  ["a101", "a map that is cut off"],
  ["1c", "a reserved head"],
  ["ff", "a break alone"],
  ["81ff", "a break in an array of definite length"],
  ["a1ff", "a break in place of a key"],
  ["a101ff", "a break in place of a value"],
  ["bf01ff", "a break after a key"],
  ["9f01", "an array of indefinite length without its end"],
  ["bf0102", "a map of indefinite length without its end"],
  ["9fffff", "two breaks"],
  ["9f5f41ffffff", "bytes of indefinite length in an array of it"],
  ["1f", "an integer of indefinite length"],
  ["3f", "a negative one"],
  ["df00", "a tag of indefinite length"],
  ["f814", "false in two bytes"],
  ["d201", "a tag"],
  ["0000", "two items"],
  ["", "nothing"],
  ["a2010201", "a map that is cut off in a pair"],
  ["a201020103", "a key twice"],
  ["a2010218010203", "a key twice, in heads of two widths"],
  ["bf616101616102ff", "a key twice in a map of indefinite length"],
  ["a16161f8ff", "a simple value without name"],
  ["6161a0", "a text that is no UTF-8"],
  ["a161a000", "a key that is no UTF-8"],
  ["a1410000", "a byte string as a key"],
  ["a1a000", "a map as a key"],
  ["a18000", "an array as a key"],
  ["a1f500", "true as a key"],
  ["ba7fffffff", "four billion items"],
  ["5affffffff00", "a string longer than all of it"],
];

for (const [hex, what] of REFUSED) {
  Deno.test(`RFC 8949: ${hex.slice(0, 24)}, ${what}, is refused`, () => {
    assertThrows(() => decodeCbor(decodeHex(hex), LIMITS), SyntaxError);
  });
}

/** cose-wg/Examples, ecdsa-examples/ecdsa-sig-02.json. */
const ECDSA_SIG_02 = {
  x: "kTJyP2KSsBBhnb4kjWmMF7WHVsY55xUPgb7k64rDcjatChoZ1nvjKmYmPh5STRKc",
  y: "mM0weMVU2DKsYDxDJkEP9hZiRZtB8fPfXbzINZj_fF7YQRynNWedHEyzAJOX2e8s",
  d: "ok3Nq97AXlpEusO7jIy1FZATlBP9PNReMU7DWbkLQ5dU90snHuuHVDjEPmtV0fTo",
  payload: "546869732069732074686520636F6E74656E742E",
  signature:
    "B8F85EFF78C88F5351CED2F1887B79B296490795594B62E41E22529BB90208B7D8CDDD4A46D0E9C986464D83D0A5D1EDF39B3E2C5750364230D0E8D76460D8808E76C83830FBBD1978CC174066EB437F17887979ECF027DCC9D51BAF6C4FD8C0",
} as const;

async function keyFor(usage: "sign" | "verify"): Promise<CryptoKey> {
  const { x, y, d } = ECDSA_SIG_02;
  const jwk = { kty: "EC", crv: "P-384", x, y, ...(usage === "sign" ? { d } : {}) };
  return await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-384" }, false, [usage]);
}

Deno.test("a byte order mark belongs to a text", () => {
  assertEquals(decodeCbor(decodeHex("64efbbbf61"), LIMITS), "\ufeffa");
});

Deno.test("a tag may precede an item where it is named, in a head of any width, once", () => {
  const limits = { ...LIMITS, tag: 18 };
  for (const hex of ["01", "d201", "d81201", "d9001201", "db000000000000001201"]) {
    assertEquals(decodeCbor(decodeHex(hex), limits), 1);
  }
  for (const hex of ["d301", "d2d201", "81d201", "d2", "df01"]) {
    assertThrows(() => decodeCbor(decodeHex(hex), limits), SyntaxError);
  }
});

Deno.test("arrays and maps may be nested to the depth that is given, whatever their lengths", () => {
  for (const [begin, end] of [["81", ""], ["9f", "ff"], ["a101", ""], ["bf01", "ff"]] as const) {
    const nested = (depth: number) => decodeHex(begin.repeat(depth) + "00" + end.repeat(depth));
    decodeCbor(nested(4), LIMITS);
    assertThrows(() => decodeCbor(nested(5), LIMITS), SyntaxError, "deeper than 4");
  }
});

Deno.test("COSE, ECDSA-sig-02: the published signature verifies over its payload, and over no other", async () => {
  const [payload, signature] = [decodeHex(ECDSA_SIG_02.payload), decodeHex(ECDSA_SIG_02.signature)];
  const key = await keyFor("verify");
  const header = decodeHex("a1013822");
  assert(await verifySign1({ algorithm: "ES384", header, payload, signature }, key));
  assertEquals(
    await verifySign1({
      algorithm: "ES384",
      header,
      payload: payload.with(0, 0) as Uint8Array<ArrayBuffer>,
      signature,
    }, key),
    false,
  );
});

Deno.test("COSE: what is signed with the published key is read and verifies", async () => {
  const message = parseSign1(await signSign1(decodeHex(ECDSA_SIG_02.payload), await keyFor("sign")));
  assertEquals(encodeHex(message.payload), ECDSA_SIG_02.payload.toLowerCase());
  assert(await verifySign1(message, await keyFor("verify")));
});
