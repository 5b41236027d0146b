/** The envelope of KMS's answers to attested requests: its form, and that nothing else opens. */
import { assertEquals, assertInstanceOf, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { BerError, parseBer } from "../../../../lib/shared/attestation/ber.ts";
import { CmsError, envelopData, openEnvelopedData } from "../../../../lib/dev/kms_emulator/enveloped_data.ts";
import { readAsSdk } from "../../../helpers/sdk_cms.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const RSA = { name: "RSA-OAEP", publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" } as const;
const newKeys = (modulusLength = 2048) =>
  crypto.subtle.generateKey({ ...RSA, modulusLength }, true, ["encrypt", "decrypt"]);
const spkiOf = async ({ publicKey }: CryptoKeyPair) =>
  new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));

const KEYS = await newKeys();
const SPKI = await spkiOf(KEYS);
const PLAINTEXT = new Uint8Array(32).map((_, index) => index);
const ENVELOPE = await envelopData(SPKI, PLAINTEXT);

for (const length of [0, 16, 1024, 4096]) {
  Deno.test(`a plaintext of ${length} bytes comes out of its envelope`, async () => {
    const plaintext = crypto.getRandomValues(new Uint8Array(length));
    const envelope = await envelopData(SPKI, plaintext);
    assertEquals(await openEnvelopedData(KEYS.privateKey, envelope), plaintext);
  });
}

Deno.test("the form is the one that the SDK's parser walks through", async () => {
  for (const length of [16, 32, 4096]) {
    const envelope = await envelopData(SPKI, new Uint8Array(length));
    const { cipherKey, iv, ciphertext, recipientId } = readAsSdk(envelope);
    assertEquals([cipherKey.length, iv.length, ciphertext.length, recipientId.length], [
      256,
      16,
      length + 16,
      34,
    ]);
    assertEquals(encodeHex(recipientId.subarray(0, 2)), "8020");
  }
});

Deno.test("an envelope begins like KMS's: indefinite lengths, versions 2, algorithms in full", () => {
  const hex = encodeHex(ENVELOPE);
  assertEquals(hex.startsWith("308006092a864886f70d010703a080308002010231"), true, hex);
  assertEquals(
    hex.includes(
      "303c06092a864886f70d010107302fa00f300d06096086480165030402010500" +
        "a11c301a06092a864886f70d010108300d06096086480165030402010500",
    ),
    true,
    hex,
  );
  assertEquals(hex.includes("308006092a864886f70d010701301d060960864801650304012a0410"), true, hex);
  assertEquals(hex.endsWith("0000".repeat(5)), true, hex);
});

Deno.test("two envelopes of one plaintext have nothing secret in common", async () => {
  const [a, b] = [readAsSdk(ENVELOPE), readAsSdk(await envelopData(SPKI, PLAINTEXT))];
  assertNotEquals(a.cipherKey, b.cipherKey);
  assertNotEquals(a.iv, b.iv);
  assertNotEquals(a.ciphertext, b.ciphertext);
});

const refused = async (envelope: Uint8Array, key = KEYS.privateKey) =>
  (await assertRejects(() => openEnvelopedData(key, envelope), CmsError)).code;

Deno.test("a different key does not open it", async () => {
  const { privateKey } = await newKeys();
  assertEquals(await refused(ENVELOPE, privateKey), "cms_open");
});

Deno.test("no part of an envelope opens", async () => {
  for (let length = 0; length < ENVELOPE.length; length++) {
    assertEquals(await refused(ENVELOPE.subarray(0, length)), "cms_malformed", String(length));
  }
  assertEquals(await refused(new Uint8Array([...ENVELOPE, 0])), "cms_malformed");
  assertEquals(await refused(new Uint8Array(20_000)), "cms_malformed");
});

Deno.test("with any byte changed it gives no plaintext, but for the name of the recipient's key and what CBC lets through", async () => {
  const { iv } = readAsSdk(ENVELOPE);
  const ivAt = ENVELOPE.length - 10 - 48 - 2 - 2 - 16;
  assertEquals(ENVELOPE.subarray(ivAt, ivAt + 16), iv);
  const identifierAt = encodeHex(ENVELOPE).indexOf("8020") / 2 + 2;
  for (let at = 0; at < ENVELOPE.length; at++) {
    const changed = new Uint8Array(ENVELOPE);
    changed[at] = (changed[at] ?? 0) ^ 0x10;
    const opened = await openEnvelopedData(KEYS.privateKey, changed).catch((thrown) => {
      assertInstanceOf(thrown, CmsError);
    });
    if (opened === undefined) continue;
    const isIdentifier = at >= identifierAt && at < identifierAt + 32;
    if (isIdentifier) assertEquals(opened, PLAINTEXT, String(at));
    // AES-CBC authenticates nothing: TLS does. What comes out is at least another plaintext.
    else assertNotEquals(opened, PLAINTEXT, String(at));
  }
});

const KEY_PROBLEMS: readonly (readonly [string, () => Promise<Bytes>])[] = [
  ["nothing", () => Promise.resolve(new Uint8Array(0))],
  ["no DER", () => Promise.resolve(new Uint8Array(294).fill(7))],
  ["1024 bits", async () => await spkiOf(await newKeys(1024))],
  ["a key of an elliptic curve", async () => {
    const keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, true, ["sign"]);
    return await spkiOf(keys as CryptoKeyPair);
  }],
];
for (const [what, make] of KEY_PROBLEMS) {
  Deno.test(`nothing is encrypted to ${what}`, async () => {
    const thrown = await assertRejects(async () => envelopData(await make(), PLAINTEXT), CmsError);
    assertEquals(thrown.code, "cms_recipient_key");
  });
}

const BROKEN_BER: readonly (readonly [string, string])[] = [
  ["", "too early"],
  ["3001", "beyond"],
  ["308002010100", "too early"],
  ["3080020101000000", "follow"],
  ["048004010000", "no length"],
  ["3f0100", "more than one octet"],
  ["048101ff", "shortest"],
  ["0484000000010000", "more than three"],
  [`${"3080".repeat(14)}`, "deeper"],
];
for (const [hex, words] of BROKEN_BER) {
  Deno.test(`BER of ${hex.slice(0, 20) || "nothing"} is refused`, () => {
    assertThrows(() => parseBer(decodeHex(hex)), BerError, words);
  });
}
