/** COSE_Sign1 for all its algorithms: what was signed verifies, and another algorithm's message is refused by its header. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { encode } from "cborg";
import {
  type CoseAlgorithm,
  CoseError,
  parseSign1,
  signSign1,
  verifySign1,
} from "../../../../lib/shared/attestation/sign1.ts";

const CURVES: readonly (readonly [CoseAlgorithm, string])[] = [
  ["ES256", "P-256"],
  ["ES384", "P-384"],
  ["ES512", "P-521"],
];
const PAYLOAD = new Uint8Array([1, 2, 3]);
const LIMITS = { maxBytes: 1024 };

for (const [algorithm, namedCurve] of CURVES) {
  Deno.test(`${algorithm}: a message verifies under its key, tagged or not, and no longer when its payload changed`, async () => {
    const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve }, false, [
      "sign",
      "verify",
    ]);
    const bytes = await signSign1(PAYLOAD, { algorithm, key: privateKey });
    for (const form of [bytes, new Uint8Array([0xd2, ...bytes])]) {
      const message = parseSign1(form, { ...LIMITS, algorithm });
      assertEquals([message.payload, message.unprotected.size], [PAYLOAD, 0]);
      assert(await verifySign1(message, publicKey));
      assertEquals(await verifySign1({ ...message, payload: new Uint8Array([1, 2, 4]) }, publicKey), false);
    }
    for (const [other] of CURVES) {
      if (other === algorithm) continue;
      const error = assertThrows(() => parseSign1(bytes, { ...LIMITS, algorithm: other }), CoseError, other);
      assertEquals(error.code, "cose_algorithm");
    }
  });
}

const HEADER = new Uint8Array([0xa1, 0x01, 0x26]);
const SIGNATURE = new Uint8Array(64);
const MALFORMED: readonly (readonly [string, unknown, string])[] = [
  ["three parts", [HEADER, new Map(), PAYLOAD], "array of 4"],
  ["a list as its unprotected header", [HEADER, [], PAYLOAD, SIGNATURE], "not a map"],
  ["no payload", [HEADER, new Map(), null, SIGNATURE], "no payload"],
  ["a short signature", [HEADER, new Map(), PAYLOAD, SIGNATURE.subarray(1)], "does not have 64 bytes"],
  ["more bytes than are allowed", [HEADER, new Map(), new Uint8Array(2000), SIGNATURE], "1024 are the most"],
];
for (const [what, parts, words] of MALFORMED) {
  Deno.test(`a message with ${what} is refused`, () => {
    const error = assertThrows(
      () => parseSign1(encode(parts), { ...LIMITS, algorithm: "ES256" }),
      CoseError,
      words,
    );
    assertEquals(error.code, "cose_malformed");
  });
}
