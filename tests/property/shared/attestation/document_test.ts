/**
 * Arbitrary bytes as a document are refused with the verifier's own error, and never make it hang or crash.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { decode, encode } from "cborg";
import fc from "fast-check";
import { decodeCbor } from "../../../../lib/shared/attestation/cbor.ts";
import { parseSign1, signSign1 } from "../../../../lib/shared/attestation/cose.ts";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { parsePayload } from "../../../../lib/shared/attestation/payload.ts";
import { verifyDocumentUnder } from "../../../../lib/shared/attestation/verify.ts";
import { type Choose, encodeForm } from "../../../helpers/cbor_forms.ts";
import { forge } from "../../../helpers/forged_documents.ts";
import { runs } from "../../../helpers/effort.ts";

const LIMITS = { maxBytes: 16 * 1024, maxDepth: 8 };
const IN_ORDER = { mapSorter: () => 0 } as const;

/** Bytes that are CBOR more often than chance has it. */
const almostCbor = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.array(
    fc.constantFrom(
      0x00,
      0x01,
      0x18,
      0x20,
      0x38,
      0x40,
      0x41,
      0x58,
      0x60,
      0x61,
      0x80,
      0x81,
      0x9f,
      0xa0,
      0xa1,
      0xbf,
      0xd2,
      0xf6,
      0xff,
    ),
    { maxLength: 60 },
  ).map((bytes) => Uint8Array.from(bytes)),
);

function refusal(run: () => unknown): void {
  try {
    run();
  } catch (thrown) {
    if (!(thrown instanceof AttestationError)) throw thrown;
  }
}

Deno.test("any bytes are a message and a payload, or are refused as none", () => {
  fc.assert(
    fc.property(almostCbor, (bytes) => {
      refusal(() => parseSign1(bytes));
      refusal(() => parsePayload(bytes));
    }),
    runs(2_000),
  );
});

Deno.test("what is read as CBOR, another decoder reads the same, and its shortest form too", () => {
  fc.assert(
    fc.property(almostCbor, (bytes) => {
      let value: unknown;
      try {
        value = decodeCbor(bytes, LIMITS);
      } catch (thrown) {
        assert(thrown instanceof SyntaxError, String(thrown));
        return;
      }
      assertEquals(decode(bytes, { useMaps: true, rejectDuplicateMapKeys: true }), value);
      assertEquals(decodeCbor(encode(value, IN_ORDER), LIMITS), value);
    }),
    runs(5_000),
  );
});

const integer = fc.oneof(
  fc.integer({ min: -300, max: 300 }),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }).map((value) =>
    Number.isSafeInteger(Number(value)) ? Number(value) : value
  ),
);
const { value: anyValue } = fc.letrec<{ value: unknown; leaf: unknown; list: unknown; map: unknown }>(
  (tie) => ({
    value: fc.oneof({ maxDepth: 4, withCrossShrink: true }, tie("leaf"), tie("list"), tie("map")),
    leaf: fc.oneof(
      integer,
      fc.string({ unit: "binary" }),
      fc.uint8Array({ maxLength: 40 }),
      fc.boolean(),
      fc.constant(null),
    ),
    list: fc.array(tie("value"), { maxLength: 30 }),
    map: fc.array(fc.tuple(fc.oneof(fc.string({ unit: "binary" }), integer), tie("value")), { maxLength: 30 })
      .map((pairs) => new Map(pairs)),
  }),
);
/** Picks encodings by a list of numbers, over and over. */
const chooser = fc.array(fc.nat(), { minLength: 1, maxLength: 40 }).map((numbers): Choose => {
  let at = 0;
  return (below) => (numbers[at++ % numbers.length] ?? 0) % below;
});

Deno.test("a value reads the same in every encoding, of definite or indefinite lengths, with heads of any width", () => {
  fc.assert(
    fc.property(anyValue, chooser, (value, choose) => {
      const limits = { maxBytes: 1 << 20, maxDepth: 8 };
      const shortest = new Uint8Array(encode(value, IN_ORDER));
      assertEquals(decodeCbor(shortest, limits), value);
      const found = decodeCbor(encodeForm(value, choose), limits);
      assertEquals(found, value);
      assertEquals(new Uint8Array(encode(found, IN_ORDER)), shortest);
    }),
    runs(2_000),
  );
});

Deno.test("an encoding that is cut off anywhere, or goes on after its end, is refused", () => {
  fc.assert(
    fc.property(anyValue, chooser, fc.nat(), (value, choose, place) => {
      const bytes = encodeForm(value, choose);
      const limits = { maxBytes: 1 << 20, maxDepth: 8 };
      assertThrows(() => decodeCbor(bytes.subarray(0, place % bytes.length), limits), SyntaxError, "cut off");
      assertThrows(() => decodeCbor(new Uint8Array([...bytes, 0xff]), limits), SyntaxError, "follow its end");
    }),
    runs(1_000),
  );
});

Deno.test("lists in one another, however deep, are refused without a fall through the stack", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 9, max: 16_384 }),
      fc.constantFrom(0x81, 0xa1, 0x9f, 0xbf),
      (depth, head) => {
        const bytes = new Uint8Array(depth).fill(head);
        let message = "";
        try {
          decodeCbor(bytes, LIMITS);
        } catch (thrown) {
          message = String(thrown);
        }
        assert(/deeper than 8|a key may not be/.test(message), message);
      },
    ),
  );
});

Deno.test("a document that was changed anywhere, in any way, is refused", async () => {
  const { root, document, at } = await forge();
  await verifyDocumentUnder(root, document, { at });
  const place = fc.integer({ min: 0, max: document.length - 1 });
  await fc.assert(
    fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), async (index, mask, cut) => {
      const changed = cut ? document.slice(0, index) : document.slice();
      if (!cut) changed[index] = (changed[index] ?? 0) ^ mask;
      try {
        await verifyDocumentUnder(root, changed, { at, allowDebug: true });
      } catch (thrown) {
        if (thrown instanceof AttestationError) return;
        throw thrown;
      }
      assert(false, `a change at ${index} was taken`);
    }),
    runs(300),
  );
});

Deno.test("certificates of any bytes are refused, under a signature or not", async () => {
  const { root, at } = await forge();
  const { privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, false, [
    "sign",
    "verify",
  ]);
  // One whole DER sequence by its head, so that the library gets to see it.
  const der = fc.uint8Array({ minLength: 256, maxLength: 600 }).map((body) =>
    Uint8Array.from([0x30, 0x82, body.length >> 8, body.length & 255, ...body])
  );
  // Or a real one with a few bytes changed.
  const damaged = fc.array(
    fc.tuple(fc.integer({ min: 4, max: root.length - 1 }), fc.integer({ min: 1, max: 255 })),
    {
      minLength: 1,
      maxLength: 4,
    },
  ).map((changes) => {
    const bytes = root.slice();
    for (const [index, mask] of changes) bytes[index] = (bytes[index] ?? 0) ^ mask;
    return bytes;
  });
  await fc.assert(
    fc.asyncProperty(fc.oneof(der, damaged), async (certificate) => {
      const payload = new Map<string, unknown>([
        ["module_id", "i"],
        ["digest", "SHA384"],
        ["timestamp", at.getTime()],
        ["pcrs", new Map([0, 1, 2].map((index) => [index, new Uint8Array(48).fill(7)]))],
        ["certificate", certificate],
        ["cabundle", [root]],
      ]);
      const document = await signSign1(new Uint8Array(encode(payload)), privateKey);
      try {
        await verifyDocumentUnder(root, document, { at });
      } catch (thrown) {
        if (!(thrown instanceof AttestationError)) throw thrown;
        assert(["attestation_chain", "attestation_expired"].includes(thrown.code), thrown.message);
        return;
      }
      assert(false, "it was taken");
    }),
    runs(300),
  );
});
