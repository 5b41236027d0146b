/** Rows, blobs, sealed requests and documents of an earlier build: they open, and every reply is the same. */
import { assertEquals, assertRejects } from "@std/assert";
import * as product from "./product.ts";

const gold: product.Gold = await product.readGold("gold.json");
const root = Uint8Array.fromBase64(gold.root);
/** PCR0 of the documents. */
const PCR0 =
  "6a5ba5204a52c3f7673f4eb9430bf253f0e2e4ea1251195fed72fcdc2cbbb2c2f4b1c2c0048095a8f6e67aa7b3a04164";

for (const { title, settings, exchanges } of gold.conversations) {
  Deno.test(`gold: ${title}`, async () => {
    await using service = await product.startGold(settings);
    for (const { request, reply } of exchanges) assertEquals(await service.ask(request), reply);
  });
}

for (const { title, document, nonce, subject, previous, origin } of gold.keyDocuments) {
  Deno.test(`gold: the document of the ${title} is verified`, async () => {
    const signed = { document: Uint8Array.fromBase64(document), nonce: Uint8Array.fromBase64(nonce) };
    const about = { ...subject, publicPart: Uint8Array.fromBase64(subject.publicPart) };
    const verify = (epoch: number) =>
      product.verifyKeyDocument(signed, { ...about, epoch }, {
        pcrs: { 0: PCR0 },
        at: "made",
        verify: (bytes, expected) => product.verifyDocumentUnder(root, bytes, expected),
      });
    const said = await verify(subject.epoch);
    const from = origin === "generated" ? { origin, generatedAt: product.NOW } : { origin };
    assertEquals([said.from, said.at], [from, product.NOW]);
    assertEquals(said.configuration, product.CONFIGURATION_HASH);
    assertEquals(said.previous?.toBase64() ?? null, previous);
    await assertRejects(() => verify(subject.epoch + 1), Error, "another row");
  });
}

Deno.test("gold: the document of attest is verified", async () => {
  const { document, nonce, publicKey } = gold.attest;
  const found = await product.verifyDocumentUnder(root, Uint8Array.fromBase64(document), {
    nonce: Uint8Array.fromBase64(nonce),
    publicKey: Uint8Array.fromBase64(publicKey),
    pcrs: { 0: PCR0 },
    at: "made",
  });
  assertEquals(found.timestamp, product.NOW);
  // CBOR of {v: 1, purpose: "attest", config, data: SHA-256 of the user data}.
  assertEquals(
    found.userData?.toHex(),
    "a46176016464617461582024d7f03d8dc3c3666969e6fa5bb1fac4736d3f1353c28307ed51b320f9dc42d366636f6e6669675820" +
      "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c067707572706f736566617474657374",
  );
});
