/** The reader of DER: definite lengths alone, one element and nothing after it. */
import { assertEquals, assertThrows } from "@std/assert";
import { decodeHex } from "@std/encoding";
import {
  BerError,
  dottedForm,
  indefinite,
  objectIdentifier,
  parseBer,
  parseDer,
} from "../../../../lib/shared/attestation/ber.ts";

const OIDS = ["2.5.29.19", "1.2.840.10045.4.3.3", "1.2.840.113549.1.1.11", "0.9.2342", "1.3.101.110"];
for (const oid of OIDS) {
  Deno.test(`${oid} is written and read`, () => {
    const { contents } = parseDer(objectIdentifier(oid));
    assertEquals(dottedForm(contents), oid);
  });
}

Deno.test("an element of indefinite length is BER, and no DER, wherever it is", () => {
  const inner = indefinite(0x30, new Uint8Array([5, 0]));
  for (const bytes of [inner, new Uint8Array([0x30, inner.length, ...inner])]) {
    assertEquals(parseBer(bytes).tag, 0x30);
    assertThrows(() => parseDer(bytes), BerError, "has no length");
  }
});

const MALFORMED: readonly (readonly [string, string, string])[] = [
  ["nothing", "", "ends too early"],
  ["a length in a long form that has a short one", "30810105", "shortest form"],
  ["a child beyond its parent", "3003040501", "beyond the one around it"],
  ["bytes after the end", "300000", "follow the end"],
  ["a tag of two octets", "1f8100", "more than one octet"],
];
for (const [what, hex, words] of MALFORMED) {
  Deno.test(`DER with ${what} is refused`, () => {
    assertThrows(() => parseDer(decodeHex(hex)), BerError, words);
  });
}
