/** The client that asks for receipts: what it refuses of whoever carries the messages, and when it attests anew. */
import { assertEquals, assertNotEquals } from "@std/assert";
import { verifyReceipt, verifyReceiptDocument } from "../../../../lib/shared/receipts/mod.ts";
import { within } from "../../../helpers/deadline.ts";
import { encodeBase64 } from "@std/encoding";
import { verifyAttestReply } from "../../../../lib/ctl/client/attest_reply.ts";
import type { Requester } from "../../../../lib/ctl/client/client.ts";
import { orThrow } from "../../../../lib/ctl/client/client.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { RECEIPT_KEY_LIFE_MS } from "../../../../lib/shared/receipts/claims.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { receiptRig, REFUSED, SESSION_KEY } from "../../../helpers/receipt_rig.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const ASKED = { key: SESSION_KEY, data: bytes("question") };
const DIGEST = new Uint8Array(32).fill(5);

const codeOf = (run: () => Promise<unknown>) =>
  run().then(() => "accepted", (thrown) => thrown instanceof EnclaveError ? thrown.code : String(thrown));

/** Whoever carries the messages, and changes requests or replies. */
function intermediary(
  client: Requester,
  { request = (given) => given, reply = (given) => given }: {
    readonly request?: (given: WireObject) => WireObject;
    readonly reply?: (given: WireObject, request: WireObject) => WireObject;
  },
): Requester {
  const exchange = async (given: WireObject) => reply(await client.exchange(request(given)), given);
  return { exchange, request: async (given) => orThrow(await exchange(given)) };
}

const isAsked = (request: WireObject) => "receipt" in request;
const withoutReceipt = ({ receipt: _, ...rest }: WireObject) => rest;

Deno.test("a reply without the receipt that was asked for is refused, for process, sign and a refusal", async () => {
  await using rig = await receiptRig();
  for (const change of [{ request: withoutReceipt }, { reply: withoutReceipt }]) {
    const client = rig.receipts(intermediary(rig.client, change));
    assertEquals(await codeOf(() => client.process(ASKED)), "receipt_missing");
    assertEquals(await codeOf(() => client.process({ ...ASKED, data: bytes(REFUSED) })), "receipt_missing");
    assertEquals(await codeOf(() => client.sign({ digest: DIGEST })), "receipt_missing");
  }
});

Deno.test("a receipt for another nonce is refused: that its own is fresh, only the client knows", async () => {
  await using rig = await receiptRig();
  const nonce = encodeBase64(new Uint8Array(32));
  const another = (given: WireObject) => isAsked(given) ? { ...given, receipt: { nonce } } : given;
  const client = rig.receipts(intermediary(rig.client, { request: another }));
  assertEquals(await codeOf(() => client.sign({ digest: DIGEST })), "receipt_nonce");
  const seen = new Set<unknown>();
  const look = (given: WireObject) => (isAsked(given) && seen.add(JSON.stringify(given["receipt"])), given);
  const watched = rig.receipts(intermediary(rig.client, { request: look }));
  for (let time = 0; time < 3; time++) await watched.process(ASKED);
  assertEquals(seen.size, 3);
});

Deno.test("a reply whose result, signature or code was exchanged for another's is refused", async () => {
  await using rig = await receiptRig();
  const { reply: other } = await rig.receipts().sign({ digest: new Uint8Array(32).fill(6) });
  const changed = (fields: WireObject) =>
    rig.receipts(intermediary(rig.client, {
      reply: (given, request) => isAsked(request) ? { ...given, ...fields } : given,
    }));
  const signature = { signature: other["signature"] };
  assertEquals(await codeOf(() => changed(signature).sign({ digest: DIGEST })), "receipt_result");
  const refusal = { ...ASKED, data: bytes(REFUSED) };
  assertEquals(await codeOf(() => changed({ code: "too_little" }).process(refusal)), "receipt_result");
  const asRefused = { status: "error", msg: "workflow_failed", code: "too_much" };
  assertEquals(await codeOf(() => changed(asRefused).process(ASKED)), "receipt_outcome");
});

Deno.test("an intermediary that sends another request in place of the client's is refused", async () => {
  await using rig = await receiptRig();
  const digest = encodeBase64(new Uint8Array(32).fill(6));
  const client = rig.receipts(intermediary(rig.client, {
    request: (given) => isAsked(given) ? { ...given, digest } : given,
  }));
  assertEquals(await codeOf(() => client.sign({ digest: DIGEST })), "receipt_request");
});

Deno.test("a document of a key to seal for is refused as a receipt's, and a receipt's as one to seal for", async () => {
  await using rig = await receiptRig();
  const old = intermediary(rig.client, { request: ({ purpose: _, ...rest }) => rest });
  assertEquals(await codeOf(() => rig.receipts(old).process(ASKED)), "receipt_document");
  const nonce = new Uint8Array(32);
  const reply = await rig.client.request({ type: "attest", purpose: "receipt", nonce: encodeBase64(nonce) });
  assertEquals(
    await codeOf(() => verifyAttestReply(reply, { ...rig.expected, nonce })),
    "attestation_user_data",
  );
});

Deno.test("an enclave of another build, configuration or root, or in debug mode, is sent nothing", async () => {
  await using rig = await receiptRig();
  await using debug = await receiptRig({
    pcrs: { 0: "00".repeat(48), 1: "00".repeat(48), 2: "00".repeat(48) },
  });
  let sent = 0;
  const counted = (client: Requester) =>
    intermediary(client, { request: (given) => (sent += isAsked(given) ? 1 : 0, given) });
  const refusal = (wanted: Parameters<typeof rig.receipts>[1], of = rig) =>
    codeOf(() => of.receipts(counted(of.client), wanted).process(ASKED));
  assertEquals([
    await refusal({ pcrs: { 0: "cd".repeat(48) } }),
    await refusal({ configurationHash: new Uint8Array(32) }),
    await refusal({ verify: rig.verifyUnderAws }),
    await refusal({ pcrs: {}, insecureSkipPcrs: true }, debug),
    sent,
  ], ["attestation_pcr", "receipt_configuration", "attestation_root", "attestation_debug", 0]);
});

Deno.test("when the key was replaced, the client attests anew, and the reply's receipt verifies", async () => {
  await using rig = await receiptRig();
  let attested = 0;
  const client = rig.receipts(
    intermediary(rig.client, { request: (given) => (attested += given["type"] === "attest" ? 1 : 0, given) }),
  );
  const first = await client.process(ASKED);
  await client.process(ASKED);
  assertEquals(attested, 1);
  rig.clock.ms = RECEIPT_KEY_LIFE_MS;
  const next = await client.process(ASKED);
  assertNotEquals(next.claims.keyHash, first.claims.keyHash);
  assertEquals([attested, next.document.length > 0], [2, true]);
});

/** Holds the next import of a receipt's key until it is released. */
function holdVerification() {
  const [held, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { importKey } = crypto.subtle;
  let isHeld = false;
  crypto.subtle.importKey = async (...args: readonly unknown[]) => {
    const key = await Reflect.apply(importKey, crypto.subtle, args);
    if (args[2] !== "Ed25519" || isHeld) return key;
    isHeld = true;
    held.resolve();
    await released.promise;
    return key;
  };
  return {
    held: held.promise,
    release: released.resolve,
    [Symbol.dispose]: () => void Reflect.deleteProperty(crypto.subtle, "importKey"),
  };
}

Deno.test("a receipt that is verified while another request learns of the next key has its own key's document", async () => {
  await using rig = await receiptRig();
  const client = rig.receipts();
  using verification = holdVerification();
  const before = client.sign({ digest: DIGEST });
  await within(verification.held, "the verification of the first receipt", 20_000);
  rig.clock.ms = RECEIPT_KEY_LIFE_MS;
  const after = await client.sign({ digest: DIGEST });
  verification.release();
  for (const { receipt, document } of [await before, after]) {
    await verifyReceipt(receipt, await verifyReceiptDocument(document, { ...rig.expected }));
  }
});

Deno.test("a sealed request's receipt is of its ciphertext, and is refused with another request's salts", async () => {
  await using rig = await receiptRig();
  using sealed = await rig.connectSealed();
  const client = rig.receipts(sealed);
  assertEquals((await client.process(ASKED)).claims.outcome, "ok");
  const mixed = rig.receipts({
    exchange: (given) => sealed.exchange(given),
    request: (given) => sealed.request(given),
    exchangeForReceipt: async (given) => ({
      ...await sealed.exchangeForReceipt(given),
      secret: (await sealed.exchangeForReceipt({ type: "ping" })).secret,
    }),
  });
  assertEquals(await codeOf(() => mixed.sign({ digest: DIGEST })), "receipt_result");
  const elsewhere = rig.receipts({
    exchange: (given) => sealed.exchange(given),
    request: (given) => sealed.request(given),
    exchangeForReceipt: async (given) => ({
      ...await sealed.exchangeForReceipt(given),
      request: (await sealed.exchangeForReceipt({ type: "ping" })).request,
    }),
  });
  assertEquals(await codeOf(() => elsewhere.sign({ digest: DIGEST })), "receipt_request");
});
