/** Receipts as anybody verifies them: the worked example of docs/protocol.md, and what is refused, by name. */
import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { decodeBase64, decodeHex, encodeBase64 } from "@std/encoding";
import { encode } from "cborg";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { ReceiptService } from "../../../../lib/enclave/receipts/receipts.ts";
import { attestUserData, receiptUserData } from "../../../../lib/shared/attestation/statement.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { concat } from "../../../../lib/shared/bytes.ts";
import { Random } from "../../../../lib/shared/crypto/random.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { CLAIM } from "../../../../lib/shared/receipts/claims.ts";
import {
  type ExpectedReceipt,
  parseReceipt,
  receiptSalts,
  receiptSecretOf,
  verifyReceipt,
  verifyReceiptDocument,
} from "../../../../lib/shared/receipts/mod.ts";
import { importKeyPair, setupRecipient } from "../../../../lib/shared/sealed/hpke.ts";
import { testPorts } from "../../../helpers/ports.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const counted = (from: number, length: number) => Uint8Array.from({ length }, (_, index) => from + index);
const HELLO = new TextEncoder().encode("hello");
const NONCE = counted(0xc0, 32);
const ID = counted(0xd0, 16);
const CONFIGURATION = counted(0xa0, 32);
const VALIDITY = { notBefore: 1_700_000_000_000, notAfter: 1_700_086_400_000 };
const PCRS = { 0: "ab".repeat(48) };
const X25519_PKCS8 = decodeHex("302e020100300506032b656e04220420");
const ED25519_PKCS8 = decodeHex("302e020100300506032b657004220420");
const { signal } = new AbortController();

/** The rows of the worked examples, by their names. */
async function rowsOf(section: string): Promise<(name: string) => Bytes> {
  const document = await Deno.readTextFile(new URL("../../../../docs/protocol.md", import.meta.url));
  const [, text = ""] = document.split(`\n## ${section}\n`);
  const [own = ""] = text.split("\n## ");
  const rows = new Map(
    [...own.matchAll(/^\| ([^|]+) \| `([0-9a-f]+)` \|/gm)].map(([, name, hex = ""]) => [name, hex]),
  );
  return (name) => {
    const hex = rows.get(name);
    assert(hex !== undefined, `the example has no ${name}`);
    return decodeHex(hex);
  };
}

const row = await rowsOf("Receipts");

/** Random numbers of the example: `cti`, and the seed of the key. */
class Fixed extends Random {
  constructor() {
    super({ kernel: undefined, nsm: undefined });
  }
  override bytes() {
    return ID.slice();
  }
  override secret() {
    return Promise.resolve(new SecretBytes(counted(0x80, 32)));
  }
}

/** The enclave of the example: its receipt key, configuration and time. */
async function enclaveOf(clock: { ms: number }, attester?: SimulatedNsm) {
  return new ReceiptService(testPorts({
    kms: await LocalKms.open({ region: "us-east-1" }),
    entropy: { kernelGenerator: undefined, random: new Fixed() },
    configurationHash: CONFIGURATION,
    now: () => new Date(clock.ms),
    attester,
  }));
}

Deno.test("the worked example of a receipt is what the enclave makes, byte for byte", async () => {
  const clock = { ms: VALIDITY.notBefore };
  const nsm = await SimulatedNsm.start({ pcrs: PCRS });
  using enclave = await enclaveOf(clock, nsm);
  const attest = enclave.routes["attest receipt"];
  const reply = await attest?.answer({ nonce: encodeBase64(NONCE) }, { signal });
  assert(reply !== undefined && "status" in reply && reply.status === "ok");
  const bytes = decodeBase64(String(reply["attestation_document"]));
  const { publicKey, userData } = await nsm.verify(bytes, { at: "made" });
  assertEquals([publicKey, userData], [
    row("the receipt key's public part"),
    row("the document's `user_data`"),
  ]);

  clock.ms += 1_999;
  const secret = new SecretBytes(row("secret"));
  const blob = (await rowsOf("`process` blobs"))("blob");
  using begun = await enclave.begin({ type: "process", nonce: NONCE, blob, input: HELLO, secret }, {
    signal,
  });
  assertEquals(decodeBase64(await begun.finish("ok", HELLO)), row("the receipt"));
});

Deno.test("the worked example's salts are what a client derives, also those of the sealed example", async () => {
  const secret = await receiptSecretOf(counted(0, 32));
  assertEquals(secret, row("secret"));
  const salts = await receiptSalts(secret, { nonce: NONCE, id: ID });
  assertEquals([salts.result, salts.input], [row("salt of the result"), row("salt of the input")]);

  const sealed = await rowsOf("Sealed requests");
  const keys = await importKeyPair(concat([X25519_PKCS8, counted(0xe0, 32)]));
  const context = await setupRecipient(keys, { info: sealed("`info`"), enc: sealed("`enc`") });
  const exported = await context.exportSecret(row("exporter context of the sealed example"));
  assertEquals(exported, row("its exported secret"));
  const own = await receiptSalts(exported, { nonce: NONCE, id: ID });
  assertEquals(own.result, row("its salt of the result, with the same nonce and `cti`"));
  assertEquals(own.input, row("its salt of the input"));
});

Deno.test("the worked example's claims and signed bytes are those of its receipt", () => {
  const receipt = row("the receipt");
  const [claims, signed] = [row("claims"), row("what is signed")];
  const found = (part: Bytes) =>
    new TextDecoder("latin1").decode(receipt).indexOf(new TextDecoder("latin1").decode(part));
  assertEquals([found(claims) > 0, found(row("`kid`")) > 0], [true, true]);
  assertEquals(signed.subarray(-claims.length), claims);
  const { issuedAt, nonce, id, configurationHash, keyHash } = parseReceipt(receipt);
  assertEquals([nonce, id, configurationHash, keyHash], [NONCE, ID, CONFIGURATION, row("`kid`")]);
  assertEquals(issuedAt.getTime(), 1_700_000_001_000);
});

/** The example's receipt key. */
const signer = await crypto.subtle.importKey(
  "pkcs8",
  concat([ED25519_PKCS8, counted(0x80, 32)]),
  "Ed25519",
  false,
  ["sign"],
);
const EXAMPLE = parseReceipt(row("the receipt"));
const CLAIMS: ReadonlyMap<number, unknown> = new Map<number, unknown>([
  [CLAIM.issuedAt, 1_700_000_001],
  [CLAIM.id, ID],
  [CLAIM.nonce, NONCE],
  [CLAIM.type, "process"],
  [CLAIM.request, EXAMPLE.request],
  [CLAIM.result, EXAMPLE.result],
  [CLAIM.input, EXAMPLE.input],
  [CLAIM.outcome, "ok"],
  [CLAIM.configuration, CONFIGURATION],
]);

/** A receipt by the example's key, with other claims or another header. */
async function receiptOf(
  claims: readonly (readonly [number, unknown])[],
  { key = signer, header = [[1, -8], [4, row("`kid`")]], unprotected = new Map() }: {
    readonly key?: CryptoKey;
    readonly header?: readonly (readonly [number, unknown])[];
    readonly unprotected?: Map<unknown, unknown>;
  } = {},
): Promise<Bytes> {
  const changed = new Map([...CLAIMS, ...claims]);
  for (const [label, value] of claims) if (value === undefined) changed.delete(label);
  const [head, payload] = [encode(new Map(header)), encode(changed)];
  const signed = new Uint8Array(encode(["Signature1", head, new Uint8Array(0), payload]));
  const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", key, signed));
  return concat([Uint8Array.of(0xd2), encode([head, unprotected, payload, signature])]);
}

const NSM = await SimulatedNsm.start({ pcrs: PCRS, now: () => new Date(VALIDITY.notBefore + 1_000) });
const OTHER = await SimulatedNsm.start({
  pcrs: PCRS,
  sibling: NSM,
  now: () => new Date(VALIDITY.notBefore + 1_000),
});
const EXPECTED = {
  pcrs: PCRS,
  verify: (document: Uint8Array, expected: Parameters<typeof NSM.verify>[1]) =>
    NSM.verify(document, expected),
};
const PUBLIC_KEY = row("the receipt key's public part");
const USER_DATA = receiptUserData(CONFIGURATION, VALIDITY);
const documentOf = (
  { nsm = NSM, publicKey = PUBLIC_KEY, userData = USER_DATA }: {
    readonly nsm?: SimulatedNsm;
    readonly publicKey?: Bytes;
    readonly userData?: Bytes;
  } = {},
) => nsm.attest({ nonce: NONCE, publicKey, userData });
const keyFor = async (document: Promise<Bytes>) => await verifyReceiptDocument(await document, EXPECTED);

const codeOf = (run: () => Promise<unknown>) =>
  run().then(() => "accepted", (thrown) => thrown instanceof EnclaveError ? thrown.code : String(thrown));

Deno.test("the forging of these tests makes the worked example's receipt, which is accepted with all that it discloses", async () => {
  assertEquals(await receiptOf([]), row("the receipt"));
  const blob = (await rowsOf("`process` blobs"))("blob");
  const found = await verifyReceipt(row("the receipt"), await keyFor(documentOf()), {
    nonce: NONCE,
    type: "process",
    request: blob,
    outcome: "ok",
    result: { bytes: HELLO, salt: row("salt of the result") },
    input: { bytes: HELLO, salt: row("salt of the input") },
    configurationHash: CONFIGURATION,
  });
  assertEquals(found, EXAMPLE);
});

const otherKey = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]) as CryptoKeyPair;
const SALT = row("salt of the result");
const SIGNATURE = counted(0, 64);
const signReceiptOf = async (committed: Bytes) =>
  receiptOf([
    [CLAIM.type, "master_key.sign"],
    [CLAIM.result, new Uint8Array(await crypto.subtle.digest("SHA-384", committed))],
  ]);

/** What is wrong, the code, the receipt and what is expected of it. */
const REFUSED: readonly (readonly [string, string, () => Promise<Bytes>, ExpectedReceipt?])[] = [
  [
    "by another key under the same id",
    "receipt_signature",
    () => receiptOf([], { key: otherKey.privateKey }),
  ],
  ["of another key", "receipt_key", () => receiptOf([], { header: [[1, -8], [4, counted(1, 32)]] })],
  ["with a changed claim", "receipt_signature", async () => {
    const changed = await receiptOf([]);
    changed[60] = (changed[60] ?? 0) ^ 1;
    return changed;
  }],
  [
    "with an unsigned header",
    "receipt_signature",
    () => receiptOf([], { unprotected: new Map([[4, NONCE]]) }),
  ],
  ["without the key's id", "receipt_malformed", () => receiptOf([], { header: [[1, -8]] })],
  [
    "of another algorithm",
    "receipt_malformed",
    () => receiptOf([], { header: [[1, -7], [4, row("`kid`")]] }),
  ],
  ["without a claim", "receipt_malformed", () => receiptOf([[CLAIM.input, undefined]])],
  ["with a short commitment", "receipt_malformed", () => receiptOf([[CLAIM.result, counted(0, 47)]])],
  ["with a short nonce", "receipt_malformed", () => receiptOf([[CLAIM.nonce, counted(0, 15)]])],
  ["that is cut off", "receipt_malformed", async () => (await receiptOf([])).slice(0, -1)],
  [
    "made after its key was rotated out",
    "receipt_time",
    () => receiptOf([[CLAIM.issuedAt, VALIDITY.notAfter / 1000 + 301]]),
  ],
  [
    "made before its key",
    "receipt_time",
    () => receiptOf([[CLAIM.issuedAt, VALIDITY.notBefore / 1000 - 301]]),
  ],
  [
    "of another configuration than its document",
    "receipt_configuration",
    () => receiptOf([[CLAIM.configuration, counted(1, 32)]]),
  ],
  ["of another configuration", "receipt_configuration", () => receiptOf([]), {
    configurationHash: counted(1, 32),
  }],
  ["with another nonce", "receipt_nonce", () => receiptOf([]), { nonce: counted(1, 32) }],
  ["of another type", "receipt_request", () => receiptOf([]), { type: "master_key.sign" }],
  ["of another request", "receipt_request", () => receiptOf([]), { request: HELLO }],
  ["of another outcome", "receipt_outcome", () => receiptOf([]), { outcome: "workflow_failed" }],
  ["of another result", "receipt_result", () => receiptOf([]), { result: { bytes: NONCE, salt: SALT } }],
  ["of a result without its salt", "receipt_result", () => receiptOf([]), { result: { bytes: HELLO } }],
  [
    "of a result with the input's salt",
    "receipt_result",
    () => receiptOf([]),
    { result: { bytes: HELLO, salt: row("salt of the input") } },
  ],
  [
    "of a result that begins in the salt",
    "receipt_result",
    () => receiptOf([]),
    { result: { bytes: concat([SALT.subarray(40), HELLO]), salt: SALT.subarray(0, 40) } },
  ],
  [
    "of a result that is salt and result",
    "receipt_result",
    () => receiptOf([]),
    { result: { bytes: concat([SALT, HELLO]) } },
  ],
  [
    "of a sealed master_key.sign, of salt and signature as a signature without a salt",
    "receipt_result",
    () => signReceiptOf(concat([SALT, SIGNATURE])),
    { result: { bytes: concat([SALT, SIGNATURE]) } },
  ],
  [
    "of a plain master_key.sign, of the signature's begin as a salt",
    "receipt_result",
    () => signReceiptOf(SIGNATURE),
    { result: { bytes: SIGNATURE.subarray(48), salt: SIGNATURE.subarray(0, 48) } },
  ],
  ["of another input", "receipt_input", () => receiptOf([]), {
    input: { bytes: NONCE, salt: row("salt of the input") },
  }],
  ["of an input with the result's salt", "receipt_input", () => receiptOf([]), {
    input: { bytes: HELLO, salt: SALT },
  }],
];
for (const [what, code, receipt, expected] of REFUSED) {
  Deno.test(`a receipt ${what} is refused: ${code}`, async () => {
    const bytes = await receipt();
    const key = await keyFor(documentOf());
    assertEquals(await codeOf(() => verifyReceipt(bytes, key, expected)), code);
  });
}

Deno.test("a receipt of another enclave is refused, and so is one with a swapped document", async () => {
  const other = new Uint8Array(await crypto.subtle.exportKey("raw", otherKey.publicKey));
  const receipt = await receiptOf([]);
  for (const document of [documentOf({ nsm: OTHER, publicKey: other }), documentOf({ publicKey: other })]) {
    const key = await keyFor(document);
    assertEquals(await codeOf(() => verifyReceipt(receipt, key)), "receipt_key");
  }
});

const WRONG_DOCUMENTS: readonly (readonly [string, string, () => Promise<Bytes>])[] = [
  [
    "of a key to seal for",
    "receipt_document",
    async () => documentOf({ userData: await attestUserData(new Uint8Array(0), CONFIGURATION) }),
  ],
  [
    "of another purpose",
    "receipt_document",
    () =>
      documentOf({
        userData: encode({
          v: 1,
          purpose: "wallet",
          config: CONFIGURATION,
          not_before: 1_700_000_000,
          not_after: 1_700_086_400,
        }) as Bytes,
      }),
  ],
  [
    "without validity",
    "receipt_document",
    () => documentOf({ userData: encode({ v: 1, purpose: "receipt", config: CONFIGURATION }) as Bytes }),
  ],
  ["of a longer key", "receipt_document", () => documentOf({ publicKey: counted(0, 33) })],
  [
    "made a day after its key was replaced",
    "receipt_time",
    () =>
      documentOf({
        userData: receiptUserData(CONFIGURATION, {
          notBefore: 1_000,
          notAfter: VALIDITY.notBefore - 86_400_000 - 302_000,
        }),
      }),
  ],
  [
    "made before its key",
    "receipt_time",
    () =>
      documentOf({
        userData: receiptUserData(CONFIGURATION, {
          notBefore: VALIDITY.notBefore + 303_000,
          notAfter: VALIDITY.notAfter,
        }),
      }),
  ],
];
for (const [what, code, document] of WRONG_DOCUMENTS) {
  Deno.test(`a document ${what} proves no receipt: ${code}`, async () => {
    assertEquals(await codeOf(() => keyFor(document())), code);
  });
}

Deno.test("the document of another build, of debug mode, or of another root proves no receipt", async () => {
  const document = await documentOf();
  const verified = (expected: Parameters<typeof verifyReceiptDocument>[1], bytes = document) =>
    codeOf(() => verifyReceiptDocument(bytes, expected));
  assertEquals(await verified({ ...EXPECTED, pcrs: { 0: "cd".repeat(48) } }), "attestation_pcr");
  const debug = await SimulatedNsm.start({
    pcrs: { 0: "00".repeat(48), 1: "00".repeat(48), 2: "00".repeat(48) },
    sibling: NSM,
    now: () => new Date(VALIDITY.notBefore + 1_000),
  });
  const debugging = await documentOf({ nsm: debug });
  assertEquals(
    await verified({ ...EXPECTED, insecureSkipPcrs: true, pcrs: {} }, debugging),
    "attestation_debug",
  );
  assertEquals(await verified({ pcrs: PCRS }), "attestation_root");
  assertEquals(await verified({ ...EXPECTED, nonce: counted(1, 32) }), "attestation_nonce");
  await assertRejects(
    () => verifyReceiptDocument(document, { ...EXPECTED, verify: undefined as never, pcrs: {} }),
    TypeError,
  );
});

Deno.test("bytes that are no receipt are refused by name", () => {
  for (const bytes of [new Uint8Array(0), HELLO, new Uint8Array(5000), row("claims")]) {
    assertEquals((assertThrows(() => parseReceipt(bytes), EnclaveError)).code, "receipt_malformed");
  }
  assertNotEquals(row("salt of the result"), row("salt of the input"));
});
