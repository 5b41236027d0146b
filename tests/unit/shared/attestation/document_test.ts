/** Attestation documents of AWS's own, verified at their own time; and what is refused of them. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { decodeBase64, encodeHex } from "@std/encoding";
import { decode, encode } from "cborg";
import {
  type AttestationCode,
  AttestationError,
  verifyDocument as verifyTrusted,
} from "../../../../lib/shared/attestation/mod.ts";
import type { ExpectedAttestation } from "../../../../lib/shared/attestation/mod.ts";
import { AWS_NITRO_ROOT, AWS_NITRO_ROOT_SHA256 } from "../../../../lib/shared/attestation/root.ts";
import { parsePayload } from "../../../../lib/shared/attestation/payload.ts";
import { parseSign1 } from "../../../../lib/shared/attestation/cose.ts";
import { realDocuments } from "../../../helpers/vectors.ts";

type Bytes = Uint8Array<ArrayBuffer>;
/** A code without what all begin with. */
type Refusal = AttestationCode extends `attestation_${infer Rest}` ? Rest : never;

const real = realDocuments();

/** One check at a time: those of the PCRs and the nonce are made where they are what a test is about. */
const verifyDocument = (document: Uint8Array, expected: ExpectedAttestation) =>
  verifyTrusted(document, { insecureSkipPcrs: true, insecureSkipNonce: true, ...expected });

async function refused(
  document: Uint8Array,
  expected: ExpectedAttestation,
  code: AttestationCode | readonly AttestationCode[],
  message = "",
): Promise<AttestationError> {
  const error = await assertRejects(() => verifyDocument(document, expected), AttestationError, message);
  const codes = typeof code === "string" ? [code] : code;
  assert(codes.includes(error.code), `${error.code}: ${error.message}`);
  assertMatch(error.hint ?? "", /\w/);
  return error;
}

const ZERO = "00".repeat(48);
const SOME = "ab".repeat(48);
const UNIDENTIFIED: readonly (readonly [string, ExpectedAttestation["pcrs"]])[] = [
  ["no PCR", {}],
  ["the role's PCR3 alone", { 3: SOME }],
  ["the instance's PCR4 alone", { 4: SOME }],
  ["PCR1 and PCR2 alone", { 1: SOME, 2: SOME }],
  ["a PCR0 of zeros", { 0: ZERO }],
  ["a PCR8 of zeros beside PCR0", { 0: SOME, 8: ZERO }],
  ["no build", []],
  ["one build with PCR0, and one without", [{ 0: SOME }, { 4: SOME }]],
];
for (const [what, pcrs] of UNIDENTIFIED) {
  Deno.test(`a client that expects ${what} trusts no enclave`, async () => {
    const expected = { nonce: new Uint8Array(16), ...(pcrs === undefined ? {} : { pcrs }) };
    await assertRejects(() => verifyTrusted(new Uint8Array(0), expected), TypeError, "Cannot verify");
  });
}

Deno.test("a document without a nonce to compare is refused, live or stored", async () => {
  const pcrs = { 0: SOME };
  for (const expected of [{ pcrs }, { pcrs, at: "made" }, { pcrs, at: new Date(0) }] as const) {
    const error = await assertRejects(
      () => verifyTrusted(new Uint8Array(0), expected),
      AttestationError,
      "replay",
    );
    assertEquals(error.code, "attestation_nonce");
  }
});

Deno.test("the pinned root is the one that AWS publishes the fingerprint of", async () => {
  assertEquals(
    encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", AWS_NITRO_ROOT))),
    AWS_NITRO_ROOT_SHA256,
  );
  assertEquals(AWS_NITRO_ROOT_SHA256, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
});

if (real !== undefined) {
  const { production, debug, root } = real;
  const { at } = production;
  const fields = () =>
    decode(parseSign1(production.bytes).payload, { useMaps: true }) as Map<unknown, unknown>;
  /** The document with some of its fields changed, and so with an invalid signature. */
  const changed = (change: (fields: Map<unknown, unknown>) => void): Bytes => {
    const map = fields();
    change(map);
    return withPayload(encode(map));
  };
  const withPayload = (payload: Uint8Array): Bytes => {
    const { signature } = parseSign1(production.bytes);
    return new Uint8Array(encode([new Uint8Array([0xa1, 1, 0x38, 0x22]), new Map(), payload, signature]));
  };

  Deno.test("the pinned root is the certificate that AWS publishes", () => {
    assertEquals(decodeBase64(root.replace(/-----[A-Z ]+-----|\s/g, "")), AWS_NITRO_ROOT);
  });

  Deno.test("a real document is verified at its own time, and its fields are returned", async () => {
    const found = await verifyDocument(production.bytes, { at });
    assertEquals(
      [found.moduleId, found.timestamp, found.debug, found.pcrs.size, found.cabundle.length],
      ["i-020b6af9246d90e92-enc0183d09086c24190", at, false, 16, 4],
    );
    assertEquals([found.publicKey, found.userData, found.nonce?.length], [undefined, undefined, 256]);
    // PCR4 is SHA-384(48 zero bytes ‖ instance id), and the instance id is in the module's name.
    const measured = new Uint8Array([
      ...new Uint8Array(48),
      ...new TextEncoder().encode(found.moduleId.replace(/-enc.*$/, "")),
    ]);
    assertEquals(
      found.pcrs.get(4),
      encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-384", measured))),
    );
  });

  Deno.test("a real document of December 2025, a map of indefinite length, is verified at its own time", async () => {
    const { bytes, at } = real.production2025;
    const found = await verifyDocument(bytes, { at });
    assertEquals(
      [found.moduleId, found.timestamp, found.debug, found.pcrs.size, found.cabundle.length],
      ["i-0827e799ec9232d44-enc019b5640fdf630d6", at, false, 16, 4],
    );
    assertEquals([found.publicKey, found.userData?.length, found.nonce], [undefined, 64, undefined]);
    const pcr0 =
      "eb7d0dab08ff41546d7e5659aee883af7b32bb2e58e46815b719f9f7bfae7b880188a10d86317e6509923740526cf74a";
    await verifyTrusted(bytes, { at, insecureSkipNonce: true, pcrs: { 0: pcr0 }, maxAgeMs: 0 });
    await refused(bytes, { at, pcrs: { 0: SOME } }, "attestation_pcr");
    await refused(bytes, {}, "attestation_expired");
  });

  Deno.test("a real document of August 2025 is refused for debug mode, whatever PCR0 is expected", async () => {
    const { bytes, at } = real.debug2025;
    await refused(bytes, { at, pcrs: { 0: SOME } }, "attestation_debug", "debug mode");
    const found = await verifyDocument(bytes, { at, allowDebug: true });
    assertEquals([found.debug, found.publicKey?.length, found.userData?.length], [true, 65, 65]);
  });

  Deno.test("what is expected of a real document holds, in either case of hex", async () => {
    const { pcrs, nonce } = await verifyDocument(production.bytes, { at });
    const expected = { 0: pcrs.get(0) ?? "", 8: (pcrs.get(8) ?? "").toUpperCase() };
    assert(nonce !== undefined);
    await verifyTrusted(production.bytes, { at, nonce, pcrs: expected, maxAgeMs: 0 });
    await verifyTrusted(production.bytes, { at, nonce, pcrs: { 8: expected[8] } });
  });

  Deno.test("a real document of an enclave in debug mode is refused for that, unless it is allowed", async () => {
    await refused(debug.bytes, { at: debug.at }, "attestation_debug", "debug mode");
    const found = await verifyDocument(debug.bytes, { at: debug.at, allowDebug: true });
    assertEquals([found.debug, found.publicKey?.length, found.userData?.length, found.nonce], [
      true,
      19,
      13,
      undefined,
    ]);
    // An enclave in debug mode has its role's and instance's PCRs all the same.
    assert(found.pcrs.get(3) !== "00".repeat(48) && found.pcrs.get(4) !== "00".repeat(48));
  });

  const other = new Uint8Array(256);
  const EXPECTATIONS: readonly (readonly [string, ExpectedAttestation, Refusal, string])[] = [
    ["another nonce", { nonce: other }, "nonce", "another one"],
    ["a shorter nonce", { nonce: other.subarray(1) }, "nonce", "another one"],
    ["user data where there is none", { userData: other }, "user_data", "no user data"],
    ["a public key where there is none", { publicKey: other }, "public_key", "no public key"],
    [
      "no user data but an empty one",
      { userData: new Uint8Array(0) },
      "user_data",
      "no user data",
    ],
    ["another PCR", { pcrs: { 0: "ab".repeat(48) } }, "pcr", "PCR 0 is"],
    ["a PCR that it does not have", { pcrs: { 16: "00".repeat(48) } }, "pcr", "no PCR 16"],
    [
      "a document younger than it is",
      { at: new Date(+at + 1_001), maxAgeMs: 1_000 },
      "stale",
      "1001 ms",
    ],
    ["an age that is no number", { maxAgeMs: NaN }, "stale", "0 ms old"],
  ];
  for (const [what, expected, code, message] of EXPECTATIONS) {
    Deno.test(`a real document of which ${what} is expected is refused as ${code}`, async () => {
      await refused(production.bytes, { at, ...expected }, `attestation_${code}`, message);
    });
  }

  Deno.test("expectations that make no sense are a programmer's error, whatever the document", async () => {
    const wrong: readonly ExpectedAttestation[] = [
      { pcrs: { 32: "00".repeat(48) } },
      { pcrs: { [-1]: "00".repeat(48) } },
      { at: new Date(NaN) },
    ];
    for (const expected of wrong) {
      await assertRejects(() => verifyDocument(new Uint8Array(0), expected), RangeError);
    }
    for (const value of ["", "00".repeat(47), "zz".repeat(48), `${"00".repeat(47)}0\n`]) {
      await assertRejects(() => verifyDocument(new Uint8Array(0), { pcrs: { 0: value } }), TypeError);
    }
  });

  // The leaf lives from 08:57:59 to 11:58:02.
  const TIMES: readonly (readonly [string, boolean])[] = [
    ["2022-10-13T08:57:58.999Z", false],
    ["2022-10-13T08:57:59.000Z", true],
    ["2022-10-13T11:58:02.000Z", true],
    ["2022-10-13T11:58:02.001Z", false],
    ["2026-01-01T00:00:00.000Z", false],
    ["2100-01-01T00:00:00.000Z", false],
  ];
  for (const [time, valid] of TIMES) {
    Deno.test(`at ${time} the certificates of the real document are ${valid ? "valid" : "not valid"}`, async () => {
      const at = new Date(time);
      if (valid) await verifyDocument(production.bytes, { at });
      else await refused(production.bytes, { at }, "attestation_expired", "valid from");
    });
  }

  Deno.test("a document of another time than its certificates' is refused, whenever it is verified", async () => {
    const late = changed((map) => map.set("timestamp", Date.UTC(2022, 9, 13, 12)));
    await refused(late, { at }, "attestation_expired", "the document's time is 2022-10-13T12:00:00.000Z");
  });

  Deno.test("a document of which any byte was changed is refused", async () => {
    // All of the heads, then every 29th byte; and each of the 96 of the signature's.
    const { length } = production.bytes;
    const places = Array.from({ length }, (_, index) => index).filter((index) =>
      index < 64 || index % 29 === 0 || index > length - 98
    );
    const codes = new Map<string, number>();
    for (const place of places) {
      const flipped = production.bytes.slice();
      flipped[place] = (flipped[place] ?? 0) ^ 1;
      const error = await assertRejects(
        () => verifyDocument(flipped, { at, allowDebug: true }),
        AttestationError,
      );
      codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
    }
    for (
      const code of [
        "attestation_malformed",
        "attestation_algorithm",
        "attestation_root",
        "attestation_chain",
        "attestation_signature",
      ]
    ) assert((codes.get(code) ?? 0) > 0, `no ${code} among ${[...codes]}`);
  });

  const cas = () => fields().get("cabundle") as Uint8Array[];
  const [first = other, second = other, third = other, fourth = other] = cas();
  const leaf = fields().get("certificate") as Uint8Array;
  const foreign = (decode(parseSign1(debug.bytes).payload, { useMaps: true }) as Map<string, Uint8Array[]>)
    .get("cabundle") ?? [];
  const CHAINS: readonly (readonly [string, unknown[], Refusal])[] = [
    ["in reverse order", [fourth, third, second, first], "root"],
    ["with two in each other's place", [first, third, second, fourth], "chain"],
    ["without its root", [second, third, fourth], "root"],
    ["without the second", [first, third, fourth], "chain"],
    ["without the last", [first, second, third], "chain"],
    ["with the root alone", [first], "chain"],
    ["with the root twice", [first, first, second, third, fourth], "chain"],
    ["with one of another enclave's", [first, second, third, foreign[3]], "chain"],
    ["with the leaf as a CA", [first, second, third, fourth, leaf], "chain"],
    ["with bytes behind a certificate", [first, second, third, new Uint8Array([...fourth, 0])], "chain"],
    ["with PEM", [first, second, third, new TextEncoder().encode(root)], "chain"],
    ["with bytes that are no certificate", [first, new Uint8Array([0x30, 0x82, 0, 0])], "chain"],
    ["with an empty certificate", [first, new Uint8Array(0)], "malformed"],
    ["with one that is a text", [first, "x"], "malformed"],
    ["with none", [], "malformed"],
    ["with nine", Array.from({ length: 9 }, () => first), "malformed"],
    ["with one of more than 1024 bytes", [first, new Uint8Array(1025)], "malformed"],
  ];
  for (const [what, cabundle, code] of CHAINS) {
    Deno.test(`a chain ${what} is refused as ${code}`, async () => {
      await refused(changed((map) => map.set("cabundle", cabundle)), { at }, `attestation_${code}`);
    });
  }

  const FIELDS: readonly (readonly [string, string, unknown])[] = [
    ["no digest", "digest", undefined],
    ["the digest SHA512", "digest", "SHA512"],
    ["no module_id", "module_id", undefined],
    ["an empty module_id", "module_id", ""],
    ["a module_id that a terminal would obey", "module_id", "i-\x1b[2J"],
    ["a module_id without end", "module_id", "i".repeat(257)],
    ["a timestamp of zero", "timestamp", 0],
    ["a timestamp of the past", "timestamp", -1],
    ["a timestamp that is a text", "timestamp", "2022"],
    ["a timestamp beyond dates", "timestamp", 2 ** 53 - 1],
    ["a timestamp beyond numbers", "timestamp", 2n ** 63n],
    ["a timestamp that is a float", "timestamp", 1.5],
    ["no pcrs", "pcrs", undefined],
    ["pcrs in a list", "pcrs", [new Uint8Array(48)]],
    ["no PCR", "pcrs", new Map()],
    ["no PCR2", "pcrs", new Map([[0, new Uint8Array(48)], [1, new Uint8Array(48)]])],
    ["a PCR by its name", "pcrs", new Map([["0", new Uint8Array(48)]])],
    ["a PCR32", "pcrs", new Map([[32, new Uint8Array(48)]])],
    ["a PCR-1", "pcrs", new Map([[-1, new Uint8Array(48)]])],
    ["a PCR of 32 bytes", "pcrs", new Map([[0, new Uint8Array(32)]])],
    ["a PCR of hex", "pcrs", new Map([[0, "00".repeat(48)]])],
    ["no certificate", "certificate", undefined],
    ["a certificate of 1025 bytes", "certificate", new Uint8Array(1025)],
    ["no cabundle", "cabundle", undefined],
    ["an empty public key", "public_key", new Uint8Array(0)],
    ["a public key of 1025 bytes", "public_key", new Uint8Array(1025)],
    ["user data that are a text", "user_data", "x"],
    ["a nonce of 1025 bytes", "nonce", new Uint8Array(1025)],
  ];
  for (const [what, field, value] of FIELDS) {
    Deno.test(`a document with ${what} is malformed`, async () => {
      const document = changed((map) => value === undefined ? map.delete(field) : map.set(field, value));
      await refused(document, { at }, "attestation_malformed");
    });
  }

  Deno.test("a field that is left out is as one that is null, and one that is unknown is left alone", async () => {
    const without = changed((map) => {
      map.delete("user_data");
      map.set("new", true);
    });
    // As far as the signature, which it cannot have.
    await refused(without, { at }, "attestation_signature");
    assertEquals(parsePayload(parseSign1(without).payload).userData, undefined);
  });

  const { payload, signature } = parseSign1(production.bytes);
  const header = new Uint8Array([0xa1, 1, 0x38, 0x22]);
  const none = new Map();
  const MESSAGES: readonly (readonly [string, unknown, Refusal])[] = [
    ["of ES256", [encode(new Map([[1, -7]])), none, payload, signature], "algorithm"],
    ["of no algorithm", [encode(none), none, payload, signature], "algorithm"],
    ["with an empty header", [new Uint8Array(0), none, payload, signature], "algorithm"],
    ["of EdDSA", [encode(new Map([[1, -8]])), none, payload, signature], "algorithm"],
    ["of the algorithm 'none'", [encode(new Map([[1, "none"]])), none, payload, signature], "algorithm"],
    ["with more in its header", [encode(new Map([[1, -35], [4, 1]])), none, payload, signature], "algorithm"],
    ["with bytes behind its header", [new Uint8Array([...header, 0]), none, payload, signature], "algorithm"],
    ["with its algorithm twice in its header", [
      new Uint8Array([0xa2, 1, 0x38, 0x22, 0x18, 1, 0x38, 0x22]),
      none,
      payload,
      signature,
    ], "algorithm"],
    // The signature is over the header's own bytes.
    ["with a header in another encoding than what was signed", [
      new Uint8Array([0xa1, 0x18, 1, 0x38, 0x22]),
      none,
      payload,
      signature,
    ], "signature"],
    ["with an unprotected header", [header, new Map([[1, -35]]), payload, signature], "malformed"],
    ["with an unprotected header that is a list", [header, [], payload, signature], "malformed"],
    ["without payload", [header, none, null, signature], "malformed"],
    ["with a payload of nothing", [header, none, new Uint8Array(0), signature], "malformed"],
    ["with a signature of 95 bytes", [header, none, payload, signature.subarray(1)], "malformed"],
    ["with a signature of 97 bytes", [header, none, payload, new Uint8Array(97)], "malformed"],
    ["of three parts", [header, none, payload], "malformed"],
    ["of five parts", [header, none, payload, signature, 0], "malformed"],
    ["that is a map", new Map([[1, 2]]), "malformed"],
    ["that is a number", 1, "malformed"],
  ];
  for (const [what, message, code] of MESSAGES) {
    Deno.test(`a message ${what} is refused as ${code}`, async () => {
      await refused(encode(message), { at }, `attestation_${code}`);
    });
  }

  Deno.test("a document of more than 16 KiB is not parsed", async () => {
    const large = changed((map) => map.set("padding", new Uint8Array(16 * 1024)));
    await refused(large, { at }, "attestation_malformed", "16384 are the most");
  });
}

Deno.test("a payload that is no CBOR is malformed", () => {
  const error = assertThrows(() => parsePayload(new Uint8Array([0xa1, 0x61])), AttestationError, "not CBOR");
  assertEquals(error.code, "attestation_malformed");
});
