/** Invalid chains that end at the right root; documents of the simulated module. */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { decode, encode } from "cborg";
import { parseSign1, signSign1 } from "../../../../lib/shared/attestation/cose.ts";
import { verifyDocument } from "../../../../lib/shared/attestation/document.ts";
import { type AttestationCode, AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { verifyDocumentUnder } from "../../../../lib/shared/attestation/verify.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { encodeForm, INDEFINITE, WIDEST } from "../../../helpers/cbor_forms.ts";
import { CHAINS, forge, T, unknownExtension, writeIn } from "../../../helpers/forged_documents.ts";
import { realDocuments } from "../../../helpers/vectors.ts";

const real = realDocuments();

Deno.test("a chain of two CA certificates below its root is followed", async () => {
  const { root, document, at } = await forge();
  const found = await verifyDocumentUnder(root, document, { at });
  assertEquals([found.moduleId, found.timestamp, found.publicKey], ["i-forged", at, undefined]);
});

for (
  const [what, choose] of [["of indefinite lengths", INDEFINITE], ["with the widest heads", WIDEST]] as const
) {
  Deno.test(`a document in an encoding ${what}, in all of its parts, is verified`, async () => {
    const { root, document, at } = await forge({}, {}, writeIn(choose));
    for (const tag of [[], [0xd2], [0xd9, 0, 18]]) {
      const found = await verifyDocumentUnder(root, new Uint8Array([...tag, ...document]), { at });
      assertEquals([found.moduleId, found.timestamp], ["i-forged", at]);
    }
  });
}

/** Fields of a NitroTPM's document. AWS, EC2 User Guide, "Validate a NitroTPM Attestation Document". */
const NITROTPM = {
  module_id: "i-0123456789abcdef0-tpm0000000000000000",
  nitrotpm_pcrs: new Map(Array.from({ length: 24 }, (_, index) => [index, new Uint8Array(48).fill(7)])),
};
for (
  const [what, fields] of [
    ["without pcrs", { ...NITROTPM, pcrs: undefined }],
    ["with the PCRs of an enclave too", NITROTPM],
  ] as const
) {
  Deno.test(`the document of an instance's NitroTPM, ${what}, is refused by that name`, async () => {
    const write = (payload: ReadonlyMap<string, unknown>, key: CryptoKey) => {
      const present = [...payload].filter(([, value]) => value !== undefined);
      return signSign1(encodeForm(new Map(present), INDEFINITE), key);
    };
    const { root, document, at } = await forge({}, fields, write);
    const error = await assertRejects(
      () => verifyDocumentUnder(root, document, { at }),
      AttestationError,
      "it is of an instance's NitroTPM, not of an enclave",
    );
    assertEquals(error.code, "attestation_nitrotpm");
  });
}

for (const [what, place, unusual, message] of CHAINS) {
  const isDate = "from" in unusual || "to" in unusual;
  const code: AttestationCode = isDate ? "attestation_expired" : "attestation_chain";
  Deno.test(`a chain with ${what} is refused as ${code}`, async () => {
    const { root, document, at } = await forge({ [place]: unusual });
    const error = await assertRejects(
      () => verifyDocumentUnder(root, document, { at }),
      AttestationError,
      message,
    );
    assertEquals(error.code, code);
  });
}

Deno.test("an unknown extension that is not critical is ignored", async () => {
  const { root, document, at } = await forge({ 2: { more: [unknownExtension(false)] } });
  await verifyDocumentUnder(root, document, { at });
});

Deno.test("a document that is up to five minutes ahead is accepted, and one that is further ahead is refused", async () => {
  const { root, document, at } = await forge();
  await verifyDocumentUnder(root, document, { at: new Date(at.getTime() - 300_000) });
  const error = await assertRejects(
    () => verifyDocumentUnder(root, document, { at: new Date(at.getTime() - 300_001) }),
    AttestationError,
    "after the time of verification",
  );
  assertEquals(error.code, "attestation_stale");
});

Deno.test("a document is in debug mode with any of the image's PCRs zero", async () => {
  for (const zero of [0, 1, 2]) {
    const pcrs = new Map([0, 1, 2].map((index) => [index, new Uint8Array(48).fill(index === zero ? 0 : 7)]));
    const { root, document, at } = await forge({}, { pcrs });
    const error = await assertRejects(() => verifyDocumentUnder(root, document, { at }), AttestationError);
    assertEquals(error.code, "attestation_debug");
  }
});

Deno.test("a document that lacks one of the image's PCRs is refused, since it would hide debug mode", async () => {
  for (const absent of [0, 1, 2]) {
    const present = [0, 1, 2].filter((index) => index !== absent);
    const pcrs = new Map(present.map((index) => [index, new Uint8Array(48).fill(7)]));
    const { root, document, at } = await forge({}, { pcrs });
    const error = await assertRejects(
      () => verifyDocumentUnder(root, document, { at, allowDebug: true }),
      AttestationError,
      `it lacks PCR ${absent}`,
    );
    assertEquals(error.code, "attestation_malformed");
  }
});

Deno.test("a document to which somebody added an unprotected header is refused, though its signature holds", async () => {
  using nsm = await SimulatedNsm.start();
  const { header, payload, signature } = parseSign1(await nsm.attest());
  const written = (unprotected: ReadonlyMap<unknown, unknown>) =>
    new Uint8Array(encode([header, unprotected, payload, signature]));
  await nsm.verify(written(new Map()));
  for (const unprotected of [new Map([[1, -35]]), new Map([[4, new Uint8Array(32)]])]) {
    const error = await assertRejects(
      () => nsm.verify(written(unprotected)),
      AttestationError,
      "its unprotected header is not an empty map",
    );
    assertEquals(error.code, "attestation_malformed");
  }
});

Deno.test("a simulated document has the shape of a real one: no tag, the hypervisor's order, explicit nulls", async () => {
  using nsm = await SimulatedNsm.start();
  const document = await nsm.attest();
  assertEquals(encodeHex(document.subarray(0, 6)), "8444a1013822");
  const keys = (
    bytes: Uint8Array,
  ) => [...(decode(parseSign1(bytes).payload, { useMaps: true }) as Map<string, unknown>)];
  assertEquals(keys(document).map(([key]) => key), [
    "module_id",
    "digest",
    "timestamp",
    "pcrs",
    "certificate",
    "cabundle",
    "public_key",
    "user_data",
    "nonce",
  ]);
  assertEquals(keys(document).slice(-3).map(([, value]) => value), [null, null, null]);
  if (real === undefined) return;
  const { bytes } = real.production2025;
  assertEquals(keys(bytes).map(([key]) => key), keys(document).map(([key]) => key));
  assertEquals(encodeHex(bytes.subarray(0, 6)), encodeHex(document.subarray(0, 6)));
});

Deno.test("a simulated document is a map of indefinite length, as AWS's now are, or one of nine pairs, as they were", async () => {
  using nsm = await SimulatedNsm.start();
  using old = await SimulatedNsm.start({ sibling: nsm, definiteLength: true });
  const ends = (document: Uint8Array) => {
    const { payload } = parseSign1(document);
    return [payload[0], payload.at(-1)];
  };
  const [now, before] = [await nsm.attest(), await old.attest()];
  // The last field is a nonce of null.
  assertEquals([ends(now), ends(before)], [[0xbf, 0xff], [0xa9, 0xf6]]);
  for (const document of [now, before]) await nsm.verify(document, { maxAgeMs: 60_000 });
  if (real === undefined) return;
  assertEquals([ends(real.production2025.bytes), ends(real.production.bytes)[0]], [ends(now), 0xa9]);
});

Deno.test("a simulated document is refused where anything that is expected of it is another, or is not there", async () => {
  using nsm = await SimulatedNsm.start({ pcrs: { 0: "ab".repeat(48), 8: "cd".repeat(48) } });
  const said = { userData: new Uint8Array([1]), nonce: new Uint8Array(16), publicKey: new Uint8Array([3]) };
  const [full, empty] = [await nsm.attest(said), await nsm.attest({ nonce: said.nonce })];
  const expected = { ...said, pcrs: { 0: "ab".repeat(48), 8: "cd".repeat(48) } };
  const code = async (document: Uint8Array, change: object) =>
    await nsm.verify(document, { ...expected, ...change }).then(
      () => "verified",
      (thrown) => thrown instanceof AttestationError ? thrown.code : thrown,
    );
  assertEquals(await code(full, {}), "verified");
  assertEquals(await code(full, { userData: new Uint8Array([2]) }), "attestation_user_data");
  assertEquals(await code(full, { nonce: new Uint8Array(17) }), "attestation_nonce");
  assertEquals(await code(full, { publicKey: new Uint8Array([4]) }), "attestation_public_key");
  const other = "ef".repeat(48);
  assertEquals(await code(full, { pcrs: { ...expected.pcrs, 8: other } }), "attestation_pcr");
  // One build must match whole: a part of each of two is none.
  const mixed = [{ 0: "ab".repeat(48), 8: other }, { 0: other, 8: "cd".repeat(48) }];
  assertEquals(await code(full, { pcrs: mixed }), "attestation_pcr");
  assertEquals(await code(full, { pcrs: [...mixed, expected.pcrs] }), "verified");
  assertEquals(await code(empty, { publicKey: undefined }), "attestation_user_data");
  assertEquals(await code(empty, { userData: undefined }), "attestation_public_key");
});

Deno.test("a simulated document is refused under AWS's root, and under that of another module", async () => {
  using nsm = await SimulatedNsm.start();
  using other = await SimulatedNsm.start();
  const document = await nsm.attest();
  const expected = { insecureSkipPcrs: true, insecureSkipNonce: true };
  for (const verify of [() => verifyDocument(document, expected), () => other.verify(document)]) {
    assertEquals((await assertRejects(verify, AttestationError)).code, "attestation_root");
  }
});

Deno.test("a payload that another key signed is refused", async () => {
  using nsm = await SimulatedNsm.start();
  const { payload } = parseSign1(await nsm.attest());
  const { privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, false, [
    "sign",
    "verify",
  ]);
  const forged = await signSign1(payload, privateKey);
  assertEquals(
    (await assertRejects(() => nsm.verify(forged), AttestationError)).code,
    "attestation_signature",
  );
});

Deno.test("a simulated module renews its certificate, and old documents expire with theirs", async () => {
  let now = new Date(T);
  using nsm = await SimulatedNsm.start({ now: () => now });
  const first = await nsm.attest();
  now = new Date(T + 4 * 3_600_000);
  const second = await nsm.attest();
  await nsm.verify(second, { at: now });
  assertEquals(
    (await assertRejects(() => nsm.verify(first, { at: now }), AttestationError)).code,
    "attestation_expired",
  );
  const [a, b] = [await nsm.verify(first, { at: new Date(T) }), await nsm.verify(second, { at: now })];
  assertNotEquals(a.certificate, b.certificate);
  assertEquals(a.cabundle, b.cabundle);
});

Deno.test("a simulated module refuses what the real one would, and gives random bytes", async () => {
  using nsm = await SimulatedNsm.start();
  const calls: readonly (() => Promise<unknown>)[] = [
    () => nsm.attest({ userData: new Uint8Array(513) }),
    () => nsm.attest({ nonce: new Uint8Array(513) }),
    () => nsm.attest({ publicKey: new Uint8Array(1025) }),
    () => nsm.pcr(32),
  ];
  for (const call of calls) await assertRejects(call, RangeError);
  const [a, b] = [await nsm.random(), await nsm.random()];
  assertEquals([a.length, encodeHex(a) === encodeHex(b)], [256, false]);
});

Deno.test("a simulated module is not started with invalid PCRs", async () => {
  for (const pcrs of [{ 32: "00".repeat(48) }, { 0: "00" }, { [-1]: "00".repeat(48) }]) {
    await assertRejects(() => SimulatedNsm.start({ pcrs }), RangeError);
  }
  await assertRejects(() => SimulatedNsm.start({ pcrs: { 0: "zz" } }), TypeError);
});

Deno.test("a simulated module does not run where there is an NSM", async () => {
  const error = await assertRejects(() => SimulatedNsm.start({ nsmDevice: "/dev/null" }), EnclaveError);
  assertEquals(error.code, "simulated_nsm_refused");
});

Deno.test("a simulated module that was disposed of answers nothing", async () => {
  const nsm = await SimulatedNsm.start();
  nsm[Symbol.dispose]();
  const calls: readonly (() => Promise<unknown>)[] = [
    () => nsm.attest(),
    () => nsm.describe(),
    () => nsm.pcr(0),
    () => nsm.random(),
  ];
  for (const call of calls) await assertRejects(call, TypeError, "closed");
});

/** The document with its first CA certificate below the root changed; the chain is followed before signatures matter. */
function withCa(document: Uint8Array, change: (der: Uint8Array) => Uint8Array): Uint8Array {
  const { payload, signature } = parseSign1(document);
  const fields = decode(payload, { useMaps: true }) as Map<string, unknown>;
  const [root, ca = new Uint8Array(0), ...others] = fields.get("cabundle") as Uint8Array[];
  fields.set("cabundle", [root, change(ca), ...others]);
  return encode([new Uint8Array([0xa1, 1, 0x38, 0x22]), new Map(), encode(fields), signature]);
}

const TIME_NAMES = [
  ["UTCTime", 0x17, "place 1"],
  ["UTCTime", 0x17, "place 0"],
  ["GeneralizedTime", 0x18, "place 1"],
  ["GeneralizedTime", 0x18, "place 0"],
] as const;
for (const [type, tag, name] of TIME_NAMES) {
  const which = name === "place 1" ? "subject" : "issuer";
  Deno.test(`a certificate whose ${which} holds a ${type} is refused by the verifier's own error`, async () => {
    const { root, document, at } = await forge();
    const text = new TextEncoder().encode(name);
    const changed = withCa(document, (der) => {
      const copy = new Uint8Array(der);
      const at = copy.findIndex((_, index) => text.every((byte, offset) => copy[index + offset] === byte));
      assert(at > 1);
      copy[at - 2] = tag;
      return copy;
    });
    const error = await assertRejects(() => verifyDocumentUnder(root, changed, { at }), AttestationError);
    assert(["attestation_malformed", "attestation_chain"].includes(error.code), error.code);
  });
}

/** The order of P-384's group. */
const ORDER =
  0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n;

Deno.test("an ES384 signature with s above n/2 is accepted: X.509 and COSE have no low-s rule", async () => {
  const { root, document, at } = await forge();
  const { payload, signature } = parseSign1(document);
  const s = BigInt(`0x${encodeHex(signature.subarray(48))}`);
  const verified = [];
  for (const half of [s, ORDER - s]) {
    const bytes = decodeHex(half.toString(16).padStart(96, "0"));
    const signed = new Uint8Array([...signature.subarray(0, 48), ...bytes]);
    const header = new Uint8Array([0xa1, 1, 0x38, 0x22]);
    verified.push(
      await verifyDocumentUnder(root, encode([header, new Map(), payload, signed]), { at }),
    );
  }
  assertEquals(verified[0], verified[1]);
});
