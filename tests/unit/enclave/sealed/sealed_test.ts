/** Sealed requests as they come over the wire: what opens, what is refused, and with which error. */
import { VERSION } from "../../../../lib/shared/version.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { encode } from "cborg";
import { attestUserData } from "../../../../lib/shared/attestation/statement.ts";
import { decodeCbor } from "../../../../lib/shared/attestation/cbor.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import type { Client } from "../../../../lib/ctl/client/client.ts";
import { exportPublicKey, setupRecipient } from "../../../../lib/shared/sealed/hpke.ts";
import { setupSender } from "../../../../lib/shared/sealed/seal_request.ts";
import { hashPublicKey, openRequest } from "../../../../lib/shared/sealed/message.ts";
import { sealRequest } from "../../../../lib/shared/sealed/seal_request.ts";
import {
  generateKeyPair,
  MAX_COUNTER,
  SealedError,
  type SealedRequest,
  SealedSender,
} from "../../../../lib/shared/sealed/mod.ts";
import { KEY_GRACE_MS, KEY_LIFE_MS } from "../../../../lib/enclave/sealed/sealed_keys.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { CONFIGURATION_HASH, sealedRig } from "../../../helpers/sealed_rig.ts";

const NONCE = encodeBase64(new Uint8Array(16).fill(7));
const PING = { type: "ping" };

/** Sends a message that may have been tampered with, and gives the service's code. */
async function codeOf(client: Client, message: WireObject): Promise<unknown> {
  const reply = await client.exchange(message);
  return reply["status"] === "error" ? reply["msg"] : reply["status"];
}

function flipped(base64: string, at: number): string {
  const bytes = decodeBase64(base64);
  const index = at < 0 ? bytes.length + at : at;
  bytes[index] = (bytes[index] ?? 0) ^ 1;
  return encodeBase64(bytes);
}

Deno.test("attest binds the service's own key, the configuration and the caller's data", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const data = new Uint8Array(256).fill(9);
  const reply = await client.request({ type: "attest", nonce: NONCE, user_data: encodeBase64(data) });
  assertEquals(Object.keys(reply).sort(), [
    "attestation_document",
    "configuration_hash",
    "expires_at",
    "key_id",
    "public_key",
    "status",
  ]);
  const publicKey = decodeBase64(String(reply["public_key"]));
  const document = await rig.nsm.verify(decodeBase64(String(reply["attestation_document"])), {
    nonce: decodeBase64(NONCE),
    publicKey,
    userData: await attestUserData(data, CONFIGURATION_HASH),
  });
  assertEquals(publicKey.length, 32);
  assertEquals(reply["key_id"], encodeBase64(await hashPublicKey(publicKey)));
  assertEquals(reply["configuration_hash"], encodeBase64(CONFIGURATION_HASH));
  const said = decodeCbor(document.userData ?? new Uint8Array(0), { maxBytes: 512, maxDepth: 1 });
  assert(said instanceof Map);
  assertEquals([said.get("v"), said.get("purpose")], [1, "attest"]);
  const life = Date.parse(String(reply["expires_at"])) - document.timestamp.getTime();
  assert(life > KEY_LIFE_MS - 60_000 && life <= KEY_LIFE_MS);
});

const BAD_ATTEST: readonly (readonly [string, WireObject])[] = [
  ["no nonce", {}],
  ["a short nonce", { nonce: encodeBase64(new Uint8Array(15)) }],
  ["a nonce that the NSM would not take", { nonce: encodeBase64(new Uint8Array(513)) }],
];
Deno.test("attest refuses an invalid field, and names it", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  for (const [what, request] of BAD_ATTEST) {
    assertEquals(await codeOf(client, { type: "attest", ...request }), "missing_fields", what);
  }
});

Deno.test("without an NSM, attest and sealed are refused as attestation_unavailable", async () => {
  await using rig = await sealedRig({ withNsm: false });
  using client = await rig.connect();
  assertEquals(await codeOf(client, { type: "attest", nonce: NONCE }), "attestation_unavailable");
  const sender = await SealedSender.create(await exportPublicKey((await generateKeyPair()).publicKey));
  const { message } = await sender.seal(PING);
  assertEquals(await codeOf(client, { ...message }), "attestation_unavailable");
});

Deno.test("a message that was accepted is refused when it is sent again, on any connection", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  using other = await rig.connect();
  const { message } = await (await rig.sender(client)).seal(PING);
  const copies = await Promise.all([client, other].map((each) => codeOf(each, { ...message })));
  assertEquals(copies.sort(), ["ok", "sealed_replayed"]);
  assertEquals(await codeOf(other, { ...message }), "sealed_replayed");
});

Deno.test("messages out of their order are refused, those after a gap are taken, and each client counts for itself", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const [sender, other] = [await rig.sender(client), await rig.sender(client, { lastCounter: 1_000 })];
  assertEquals(await codeOf(client, { ...(await other.seal(PING)).message }), "ok");
  const sealed: SealedRequest[] = [];
  for (let count = 0; count < 4; count++) sealed.push((await sender.seal(PING)).message);
  const codes = [];
  for (const index of [2, 0, 1, 3]) codes.push(await codeOf(client, { ...sealed[index] }));
  assertEquals(codes, ["ok", "sealed_replayed", "sealed_replayed", "ok"]);
});

const CHANGES: readonly (readonly [string, (message: SealedRequest) => WireObject, string])[] = [
  ["another counter", (m) => ({ ...m, counter: m.counter + 1 }), "decrypt_failed"],
  ["another client id", (m) => ({ ...m, client_id: flipped(m.client_id, 0) }), "decrypt_failed"],
  ["another encapsulated key", (m) => ({ ...m, enc: flipped(m.enc, 0) }), "decrypt_failed"],
  [
    "an encapsulated key of low order",
    (m) => ({ ...m, enc: encodeBase64(new Uint8Array(32)) }),
    "decrypt_failed",
  ],
  ["a changed first byte", (m) => ({ ...m, ciphertext: flipped(m.ciphertext, 0) }), "decrypt_failed"],
  ["a changed tag", (m) => ({ ...m, ciphertext: flipped(m.ciphertext, -1) }), "decrypt_failed"],
  [
    "a byte less",
    (m) => ({ ...m, ciphertext: encodeBase64(decodeBase64(m.ciphertext).slice(0, -1)) }),
    "decrypt_failed",
  ],
  ["a counter beyond whole numbers", (m) => ({ ...m, counter: MAX_COUNTER + 1 }), "missing_fields"],
  ["another key's name", (m) => ({ ...m, key_id: flipped(m.key_id, 0) }), "sealed_key_unknown"],
  ["a client key where none is known", (m) => ({ ...m, client_key: m.enc }), "client_not_allowed"],
];
Deno.test("a changed message is refused, and does not use up its counter", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const { message } = await (await rig.sender(client)).seal(PING);
  for (const [what, change, code] of CHANGES) {
    assertEquals(await codeOf(client, change(message)), code, what);
  }
  assertEquals(await codeOf(client, { ...message }), "ok");
});

Deno.test("a request of another type, sealed for the same key, does not open", async () => {
  const keys = await generateKeyPair();
  const keyHash = await hashPublicKey(await exportPublicKey(keys.publicKey));
  const name = { keyHash, clientId: new Uint8Array(16), counter: 1 };
  const info = new TextEncoder().encode("another type");
  const open = async (parts: readonly unknown[]) => {
    const { enc, apply } = await setupSender(keys.publicKey, { info: encode(parts) });
    const data = encode(["denclave-sealed", 2, "request", keyHash, name.clientId, name.counter]);
    return await openRequest(keys, { enc, ciphertext: await apply(new Uint8Array(24), data) }, name);
  };
  assertEquals((await open(["denclave-sealed", 2, "sealed", keyHash])).plaintext.length, 0);
  for (
    const parts of [
      ["denclave-sealed", 2, "process", keyHash],
      ["denclave-sealed", 2, keyHash],
      ["denclave-sealed", 1, "sealed", keyHash],
      ["denclave-sealed", 2, "sealed", new Uint8Array(32)],
    ]
  ) await assertRejects(() => open(parts), SealedError);
  const sealed = await sealRequest(keys.publicKey, new Uint8Array(4), {
    ...name,
    times: { sessionStarted: 1, sealedAt: 1, expiresAt: 1 },
  });
  await assertRejects(async () => {
    const recipient = await setupRecipient(keys, { info, enc: sealed.enc });
    await recipient.apply(sealed.ciphertext, new Uint8Array(0));
  }, Error);
});

Deno.test("a reply opens only for its own request", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const sender = await rig.sender(client);
  const [first, second] = [await sender.seal(PING), await sender.seal({ type: "health" })];
  const replies = [await client.exchange({ ...first.message }), await client.exchange({ ...second.message })];
  const [toFirst = {}, toSecond = {}]: readonly WireObject[] = replies;
  assertEquals((await assertRejects(() => first.open(toSecond), SealedError)).code, "sealed_not_opened");
  assertEquals((await assertRejects(() => second.open(toFirst), SealedError)).code, "sealed_not_opened");
  const changed = { ...toFirst, ciphertext: flipped(String(toFirst["ciphertext"]), -1) };
  assertEquals((await assertRejects(() => first.open(changed), SealedError)).code, "sealed_not_opened");
  for (const ciphertext of ["", "AAAA", "not base64", 7, undefined]) {
    const reply: WireObject = { status: "ok", type: "sealed", ciphertext };
    await assertRejects(() => first.open(reply), SealedError);
  }
  assertEquals(
    (await assertRejects(() => first.open({ status: "ok", msg: "pong" }), SealedError)).code,
    "sealed_reply",
  );
  assertEquals([(await first.open(toFirst))["msg"], (await second.open(toSecond))["version"]], [
    "pong",
    VERSION,
  ]);
});

Deno.test("a reply whose key or whose additional data is of another request does not open", async () => {
  const keys = await generateKeyPair();
  const keyHash = await hashPublicKey(await exportPublicKey(keys.publicKey));
  const name = { keyHash, clientId: new Uint8Array(16), counter: 2 };
  const { enc, openReply } = await sealRequest(keys.publicKey, new Uint8Array(1), {
    ...name,
    times: { sessionStarted: 1, sealedAt: 1, expiresAt: 1 },
  });
  const about = (counter: number) =>
    new Uint8Array(encode(["denclave-sealed", 2, "reply", keyHash, name.clientId, counter]));
  /** A reply of somebody who can open the request, by docs/protocol.md. */
  const sealReply = async (exporterContext: Uint8Array, additionalData: Uint8Array<ArrayBuffer>) => {
    const recipient = await setupRecipient(keys, {
      info: encode(["denclave-sealed", 2, "sealed", keyHash]),
      enc,
    });
    const secret = await recipient.exportSecret(exporterContext);
    const key = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt"]);
    const iv = new Uint8Array(12);
    const sealed = await crypto.subtle.encrypt(
      { name: "AES-GCM", iv, additionalData },
      key,
      new Uint8Array([7]),
    );
    return new Uint8Array([...iv, ...new Uint8Array(sealed)]);
  };
  assertEquals(await openReply(await sealReply(about(2), about(2))), new Uint8Array([7]));
  const nothing = new Uint8Array(0);
  for (
    const [exporterContext, additionalData] of [
      [about(1), about(2)],
      [about(2), about(1)],
      [nothing, about(2)],
      [about(2), nothing],
    ] as const
  ) {
    const reply = await sealReply(exporterContext, additionalData);
    assertEquals((await assertRejects(() => openReply(reply), SealedError)).code, "sealed_not_opened");
  }
});

Deno.test("sealed requests do not nest, and what is wrong inside is answered inside", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const sender = await rig.sender(client);
  const inner = (await sender.seal(PING)).message;
  for (
    const [request, code] of [
      [{ ...inner }, "unknown_type"],
      [{ type: "process", ciphertext: "00" }, "not_configured"],
      [{ apiRequest: "sign" }, "missing_fields"],
      [[] as unknown as WireObject, "invalid_json"],
    ] as const
  ) {
    const { message, open } = await sender.seal(request);
    const outer = await client.exchange({ ...message });
    assertEquals([outer["status"], outer["type"]], ["ok", "sealed"]);
    assertEquals((await open(outer))["msg"], code);
  }
  const failures = rig.lines.map((line) => JSON.parse(line)).filter(({ event }) =>
    event === "sealed_request_failed"
  );
  assertEquals(failures.map(({ type, code }) => [type, code]).slice(0, 2), [
    ["unknown", "unknown_type"],
    ["process", "not_configured"],
  ]);
});

Deno.test("the last counter is used once, and then no more", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const sender = await rig.sender(client, { lastCounter: MAX_COUNTER - 1 });
  const { message } = await sender.seal(PING);
  assertEquals([message.counter, await codeOf(client, { ...message })], [MAX_COUNTER, "ok"]);
  assertEquals((await assertRejects(() => sender.seal(PING), SealedError)).code, "sealed_counter");
});

Deno.test("the key changes after an hour; the old one is accepted for five more minutes, with its counters", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const first = await rig.publicKey(client);
  const old = await rig.sender(client);
  const [early, late, never] = [await old.seal(PING), await old.seal(PING), await old.seal(PING)];
  rig.clock.ms = KEY_LIFE_MS - 1;
  assertEquals(await rig.publicKey(client), first);
  rig.clock.ms = KEY_LIFE_MS;
  const second = await rig.publicKey(client);
  assert(second !== first);
  assertEquals(await codeOf(client, { ...early.message }), "ok");
  rig.clock.ms = KEY_LIFE_MS + KEY_GRACE_MS - 1;
  assertEquals(await codeOf(client, { ...early.message }), "sealed_replayed");
  assertEquals(await codeOf(client, { ...late.message }), "ok");
  rig.clock.ms = KEY_LIFE_MS + KEY_GRACE_MS;
  assertEquals(await codeOf(client, { ...never.message }), "sealed_key_unknown");
  assertEquals(await codeOf(client, { ...early.message }), "sealed_key_unknown");
  assertEquals(await codeOf(client, { ...(await (await rig.sender(client)).seal(PING)).message }), "ok");
});

Deno.test("--require-sealed serves ping, health and attest unsealed, and nothing else", async () => {
  await using rig = await sealedRig({ sealed: { required: true } });
  using client = await rig.connect();
  for (const request of [PING, { type: "health" }, { type: "attest", nonce: NONCE }]) {
    assertEquals(await codeOf(client, request), "ok");
  }
  for (const type of ["configure", "process", "logs", "metrics", "master_key.sign", "none such", undefined]) {
    assertEquals(await codeOf(client, { type }), "sealed_required", type);
  }
  // A wallet's client tells replies apart by apiResponse, and a wallet's request is none the less one for its type.
  const wallet = await client.exchange({ apiRequest: "sign", type: "ping" });
  assertEquals([wallet["apiResponse"], wallet["msg"]], ["errorResponse", "sealed_required"]);
  const { message, open } = await (await rig.sender(client)).seal({ type: "metrics" });
  assertEquals((await open(await client.exchange({ ...message })))["status"], "ok");
});

Deno.test("with client keys, requests sealed by others are refused, whatever key they name", async () => {
  const [known, stranger] = [await generateKeyPair(), await generateKeyPair()];
  const publicKey = await exportPublicKey(known.publicKey);
  await using rig = await sealedRig({ sealed: { clientKeys: [publicKey] } });
  using client = await rig.connect();
  const unnamed = await (await rig.sender(client)).seal(PING);
  assertEquals(await codeOf(client, { ...unnamed.message }), "client_not_allowed");
  const strange = await (await rig.sender(client, { clientKey: stranger })).seal(PING);
  assertEquals(await codeOf(client, { ...strange.message }), "client_not_allowed");
  const claimed = { ...strange.message, client_key: encodeBase64(publicKey) };
  assertEquals(await codeOf(client, claimed), "decrypt_failed");
  assertEquals(
    await codeOf(client, { ...unnamed.message, client_key: claimed.client_key }),
    "decrypt_failed",
  );
  const { message, open } = await (await rig.sender(client, { clientKey: known })).seal(PING);
  assertEquals((await open(await client.exchange({ ...message })))["msg"], "pong");
});

Deno.test("client keys without --require-sealed, and either without an NSM, are warned of", async () => {
  const publicKey = await exportPublicKey((await generateKeyPair()).publicKey);
  await using rig = await sealedRig({ sealed: { clientKeys: [publicKey] }, withNsm: false });
  using client = await rig.connect();
  const { warnings } = await client.request({ type: "health" });
  assertStringIncludes(String(warnings), "clients that do not seal their requests need none");
  assertStringIncludes(String(warnings), "no NSM to attest");
});

/** A `configure` with a session key of this byte. */
async function configureWith(rig: Awaited<ReturnType<typeof sealedRig>>, byte: number): Promise<WireObject> {
  return {
    type: "configure",
    encrypted_tsk: encodeBase64(await rig.kms.encrypt(rig.keyArn, new Uint8Array(32).fill(byte))),
    aws_access_key_id: "test",
    aws_secret_access_key: "test",
    aws_session_token: "test",
  };
}

/** Whether the service has the session key of this byte. */
async function holds(client: Client, byte: number): Promise<boolean> {
  using key = new SealingKey(new SecretBytes(new Uint8Array(32).fill(byte)), {
    random: HOST_RANDOM.fill,
  });
  const ciphertext = encodeHex(await key.seal(new Uint8Array(1)));
  return await codeOf(client, { type: "process", ciphertext }) === "ok";
}

Deno.test("a configure that was kept back does not replace a newer one: an hour later it has expired", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  // Held back by the intermediary.
  const { message, open } = await (await rig.sender(client)).seal(await configureWith(rig, 1));
  const newer = await (await rig.sender(client)).seal(await configureWith(rig, 2));
  assertEquals(await codeOf(client, { ...newer.message }), "ok");
  rig.ahead.ms = 59 * 60_000;
  const reply = await open(await client.exchange({ ...message }));
  assertEquals(reply["msg"], "clock_skew");
  const [, late = ""] = /expired ([0-9]+) ms ago/.exec(String(reply["details"])) ?? [];
  assert(Math.abs(Number(late) - 58 * 60_000) < 30_000, String(reply["details"]));
  assertEquals([await holds(client, 1), await holds(client, 2)], [false, true]);
});

for (
  const [what, between] of [
    ["for the same key", () => {}],
    [
      "for the key of before",
      (rig: Awaited<ReturnType<typeof sealedRig>>) => void (rig.clock.ms += KEY_LIFE_MS),
    ],
  ] as const
) {
  Deno.test(`a configure that was kept back does not replace one that the same client sealed after it, in a new session ${what}`, async () => {
    await using rig = await sealedRig();
    using client = await rig.connect();
    const started = Date.now();
    const sealedBefore = async (ms: number, byte: number) =>
      await (await rig.sender(client, { clock: () => started - ms })).seal(await configureWith(rig, byte));
    // The client got no reply, and began anew; nothing shows that it is the same one.
    const kept = await sealedBefore(2_000, 1);
    between(rig);
    const newer = await sealedBefore(1_000, 2);
    assertEquals(await codeOf(client, { ...newer.message }), "ok");
    const reply = await kept.open(await client.exchange({ ...kept.message }));
    assertEquals(reply["msg"], "sealed_replayed");
    assertMatch(String(reply["details"]), /sealed 1000 ms later has taken effect/);
    assertEquals([await holds(client, 1), await holds(client, 2)], [false, true]);
    // In order they replace each other.
    const newest = await sealedBefore(0, 3);
    assertEquals(await codeOf(client, { ...newest.message }), "ok");
    assertEquals(await holds(client, 3), true);
  });
}

Deno.test("a new session of a client key voids that client's older ones, whichever arrives first and for whichever key", async () => {
  const [clientKey, other] = [await generateKeyPair(), await generateKeyPair()];
  const clientKeys = [await exportPublicKey(clientKey.publicKey), await exportPublicKey(other.publicKey)];
  await using rig = await sealedRig({ sealed: { clientKeys } });
  using client = await rig.connect();
  const older = await rig.sender(client, { clientKey });
  const [first, second] = [await older.seal(PING), await older.seal(PING)];
  // Never delivered so far.
  const unseen = await (await rig.sender(client, { clientKey })).seal(await configureWith(rig, 1));
  assertEquals(await codeOf(client, { ...first.message }), "ok");
  // The newest session is for the next key.
  rig.clock.ms = KEY_LIFE_MS;
  const newest = await rig.sender(client, { clientKey });
  assertEquals(await codeOf(client, { ...(await newest.seal(await configureWith(rig, 2))).message }), "ok");
  assertEquals(await codeOf(client, { ...second.message }), "sealed_replayed");
  assertEquals(await codeOf(client, { ...unseen.message }), "sealed_replayed");
  assertEquals([await holds(client, 1), await holds(client, 2)], [false, true]);
  assertEquals(await codeOf(client, { ...(await newest.seal(PING)).message }), "ok");
  assertEquals(
    await codeOf(client, { ...(await (await rig.sender(client, { clientKey: other })).seal(PING)).message }),
    "ok",
  );
});

Deno.test("a message that came too late uses up no counter and voids no session", async () => {
  const clientKey = await generateKeyPair();
  await using rig = await sealedRig({ sealed: { clientKeys: [await exportPublicKey(clientKey.publicKey)] } });
  using client = await rig.connect();
  const sender = await rig.sender(client, { clientKey });
  const [first, second] = [await sender.seal(PING), await sender.seal(PING)];
  const newer = await (await rig.sender(client, { clientKey })).seal(PING);
  assertEquals(await codeOf(client, { ...first.message }), "ok");
  rig.ahead.ms = 3_600_000;
  assertEquals((await newer.open(await client.exchange({ ...newer.message })))["msg"], "clock_skew");
  rig.ahead.ms = 0;
  assertEquals((await second.open(await client.exchange({ ...second.message })))["msg"], "pong");
});
