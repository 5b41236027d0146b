/** The master key: made once, opened again after a restart, never duplicated, and never taken from a changed row. */
import type { Feature } from "../../../../lib/enclave/server/feature.ts";
import { NEVER } from "../../../../lib/enclave/server/waiting.ts";
import { assert, assertEquals } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { verifySchnorr } from "../../../../lib/shared/crypto/secp256k1_verify.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { decodeCbor } from "../../../../lib/shared/attestation/cbor.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { SigningKey } from "../../../deps/ethers.ts";
import { forgedRow } from "../../../helpers/forged_row.ts";
import { CREDENTIAL, KmsRefusal, plainMasterKey, walletRig } from "../../../helpers/wallet_rig.ts";

const DIGEST = encodeBase64(new Uint8Array(32).fill(5));

type Rig = Awaited<ReturnType<typeof walletRig>>;

/** The row's own fields of a reply. */
function rowOf(reply: WireObject): WireObject {
  const { kms_encrypted_dek, encrypted_private_key, public_key, key_epoch } = reply;
  return { kms_encrypted_dek, encrypted_private_key, public_key, key_epoch };
}

function initRequest(rig: Rig, more: WireObject = {}): WireObject {
  const type = "master_key.init";
  return { type, enclave_id: 1, kms_key_id: rig.firstArn, credential: { ...CREDENTIAL }, ...more };
}

function init(rig: Rig, more: WireObject = {}) {
  return rig.ask(initRequest(rig, more));
}

function rewrapRequest(rig: Rig, more: WireObject = {}): WireObject {
  const type = "master_key.rewrap";
  return { type, new_kms_key_id: rig.secondArn, credential: { ...CREDENTIAL }, ...more };
}

/** Makes KMS wait: `asked` is when it was asked, `answer` lets it answer. */
function hold(rig: Rig) {
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { decrypt, generateDataKey } = rig.kms;
  const wait = async () => (asked.resolve(), await gate.promise);
  rig.kms.decrypt = async (access, request) => (await wait(), await decrypt(access, request));
  rig.kms.generateDataKey = async (access, request) => (await wait(), await generateDataKey(access, request));
  const restore = () => Object.assign(rig.kms, { decrypt, generateDataKey });
  return { asked: asked.promise, answer: gate.resolve, restore };
}

/** The reply of a service. Rejects with what it throws. */
async function answer(service: Feature, request: WireObject, signal = NEVER): Promise<unknown> {
  return await service.routes?.[String(request["type"])]?.answer(request, { signal });
}

/** The same KMS, another run of the enclave. */
function restart(rig: Rig, minEpoch = 1) {
  const service = plainMasterKey({
    kms: rig.kms,
    log: rig.events.log,
    minEpoch,
    keys: rig.local.keyArns.map(parseKeyArn),
  });
  const ask = async (request: WireObject) => {
    try {
      return await answer(service, structuredClone(request)) as WireObject;
    } catch (thrown) {
      return {
        msg: thrown instanceof Error && "code" in thrown ? thrown.code : "?",
        details: String(thrown),
      };
    }
  };
  return { service, ask };
}

Deno.test("signatures verify by a second implementation, and recover to the public key", async () => {
  const rig = await walletRig();
  const publicKey = decodeBase64(String(((await init(rig)) as WireObject)["public_key"]));
  const reply =
    (await rig.ask({ type: "master_key.sign", digest: encodeHex(new Uint8Array(32).fill(5)) })) as WireObject;
  const bytes = decodeBase64(String(reply["signature"]));
  const recovered = SigningKey.recoverPublicKey(`0x${"05".repeat(32)}`, {
    r: `0x${encodeHex(bytes.subarray(0, 32))}`,
    s: `0x${encodeHex(bytes.subarray(32))}`,
    v: reply["recovery_id"] === 0 ? 27 : 28,
  });
  assertEquals(SigningKey.computePublicKey(recovered, true), `0x${encodeHex(publicKey)}`);
  const schnorr =
    (await rig.ask({ type: "master_key.sign", digest: DIGEST, scheme: "schnorr" })) as WireObject;
  assert(verifySchnorr(publicKey, decodeBase64(DIGEST), decodeBase64(String(schnorr["signature"]))));
});

Deno.test("init again without a row gives the same row: there are never two keys", async () => {
  const rig = await walletRig();
  const replies = await Promise.all([init(rig), init(rig), init(rig)]);
  const [first] = replies;
  for (const reply of replies) assertEquals(rowOf(reply), rowOf(first as WireObject));
  assertEquals(replies.map((reply) => (reply as WireObject)["newly_generated"]), [true, false, false]);
  assertEquals(rig.kms.calls.generateDataKey, 1);
});

/** One bit of base64's bytes changed. */
const flip = (at: number) => (base64: unknown): string => {
  const bytes = decodeBase64(String(base64));
  const index = (at + bytes.length) % bytes.length;
  bytes[index] = (bytes[index] ?? 0) ^ 1;
  return encodeBase64(bytes);
};

const CHANGED: readonly (readonly [string, string, (value: unknown, rig: Rig) => unknown, string?])[] = [
  ["enclave_id", "enclave_id", () => 2],
  ["kms_key_id, another allowed one", "kms_key_id", (_, rig) => rig.secondArn],
  ["kms_key_id, not allowed", "kms_key_id", () => "alias/x", "key_not_allowed"],
  ["the first byte of the data key", "kms_encrypted_dek", flip(0)],
  ["the last byte of the data key", "kms_encrypted_dek", flip(-1)],
  ["the nonce of the sealed key", "encrypted_private_key", flip(0)],
  ["the sealed key itself", "encrypted_private_key", flip(20)],
  ["the tag of the sealed key", "encrypted_private_key", flip(-1)],
  ["the parity of the public key", "public_key", flip(0)],
  ["the public key", "public_key", flip(-1)],
  ["the epoch", "key_epoch", () => 2],
  ["the epoch, below the first", "key_epoch", () => 0, "missing_fields"],
];

for (const [what, field, change, code = "row_rejected"] of CHANGED) {
  Deno.test(`a row with another value is refused, named, and changes nothing: ${what}`, async () => {
    const rig = await walletRig();
    const request = initRequest(rig, rowOf(await init(rig)));
    const other = restart(rig);
    const changed = { ...request, [field]: change(request[field], rig) };
    for (const type of ["master_key.init", "master_key.verify"]) {
      const reply = await other.ask({ ...changed, type });
      assertEquals(reply["msg"], code, String(reply["details"]));
      assert(String(reply["details"]).includes(field), String(reply["details"]));
    }
    assertEquals(other.service.state.master_key["initialised"], false);
    // The whole row still opens there.
    assertEquals((await other.ask(request))["status"], "ok");
  });
}

const CONFLICTS: readonly (readonly [string, (rig: Rig) => WireObject])[] = [
  ["another enclave's id", () => ({ enclave_id: 2 })],
  ["another KMS key, without a row", (rig) => ({ kms_key_id: rig.secondArn })],
];

for (const [what, change] of CONFLICTS) {
  Deno.test(`a service that holds a key refuses ${what}, and keeps what it has`, async () => {
    const rig = await walletRig();
    const row = rowOf(await init(rig));
    assertEquals((await init(rig, change(rig))).msg, "master_key_conflict");
    assertEquals(rowOf(await init(rig)), row);
    assertEquals(rig.kms.calls.generateDataKey, 1);
  });
}

Deno.test("a service that holds a key refuses the row of another, also one of a later epoch", async () => {
  const rig = await walletRig();
  const row = rowOf(await init(rig));
  for (const epoch of [1, 7]) {
    const other = rowOf(await restart(rig, epoch).ask(initRequest(rig)));
    assertEquals(other["key_epoch"], epoch);
    const reply = await init(rig, other);
    assertEquals(reply.msg, "master_key_conflict");
    assert(reply.details.includes("another public key"), reply.details);
  }
  assertEquals(rowOf(await init(rig)), row);
});

Deno.test("rewrap goes only to an allowed key, and a failure leaves the old one in use", async () => {
  const rig = await walletRig();
  await init(rig);
  const request = { type: "master_key.rewrap", credential: CREDENTIAL };
  const elsewhere = rig.firstArn.replace("000000000000", "999999999999");
  assertEquals((await rig.ask({ ...request, new_kms_key_id: elsewhere })).msg, "key_not_allowed");
  rig.kms.fail = new KmsRefusal("AccessDeniedException");
  assertEquals((await rig.ask({ ...request, new_kms_key_id: rig.secondArn })).msg, "kms_generate_failed");
  rig.kms.fail = undefined;
  const info = (await rig.ask({ type: "master_key.public_info" })) as WireObject;
  assertEquals([info["key_epoch"], info["kms_key_id"]], [1, rig.firstArn]);
  assertEquals((await rig.ask({ type: "master_key.sign", digest: DIGEST }))["status"], "ok");
});

Deno.test("a measured least epoch refuses a row from before it", async () => {
  const rig = await walletRig();
  const old = rowOf(await init(rig));
  const strict = await walletRig({ minEpoch: 2 });
  const reply = await init(strict, old);
  assertEquals([reply.msg, reply.details.includes("at least 2"), strict.kms.calls.decrypt], [
    "row_rejected",
    true,
    0,
  ]);
});

Deno.test("a data key of the wallet opens no master key", async () => {
  const rig = await walletRig();
  const { publicKey, encryptedPrivateKey, kmsEncryptedDek, dataKey } = await forgedRow(
    rig.local,
    rig.firstArn,
    1,
  );
  const request = initRequest(rig, {
    encrypted_private_key: encodeBase64(encryptedPrivateKey),
    public_key: encodeBase64(publicKey),
    key_epoch: 1,
  });
  const others = [
    { app: "denclave", purpose: "wallet", name: "1" },
    { app: "denclave", purpose: "master" },
    {},
  ];
  for (const context of others) {
    const wrapped = await rig.local.encrypt(rig.firstArn, dataKey.slice(), context);
    const reply = await restart(rig).ask({ ...request, kms_encrypted_dek: encodeBase64(wrapped) });
    assertEquals([reply["msg"], String(reply["details"]).includes("kms_encrypted_dek, or")], [
      "row_rejected",
      true,
    ]);
  }
  // The same data key in its own context opens.
  const own = { ...request, kms_encrypted_dek: encodeBase64(kmsEncryptedDek) };
  assertEquals((await restart(rig).ask(own))["status"], "ok");
});

Deno.test("a data key under a KMS key that is not allowed opens no master key, although the credentials may use that key", async () => {
  const rig = await walletRig();
  const allowed = restart(rig);
  const { publicKey, encryptedPrivateKey, dataKey } = await forgedRow(rig.local, rig.firstArn, 1);
  const context = { app: "denclave", purpose: "master", enclave_id: "1" };
  const reply = await allowed.ask(initRequest(rig, {
    kms_encrypted_dek: encodeBase64(await rig.local.encrypt(await rig.local.createKey(), dataKey, context)),
    encrypted_private_key: encodeBase64(encryptedPrivateKey),
    public_key: encodeBase64(publicKey),
    key_epoch: 1,
  }));
  assertEquals([reply["msg"], String(reply["details"]).includes("wrapped by another KMS key")], [
    "row_rejected",
    true,
  ]);
});

Deno.test("no key is made where the kernel's random numbers are not the NSM's, but a stored one opens", async () => {
  const rig = await walletRig({ attested: true });
  assertEquals((await init(rig)).msg, "entropy_not_trusted");
  const trusted = await walletRig({
    attested: true,
    entropy: { kernelGenerator: "nsm-hwrng", random: HOST_RANDOM },
  });
  assertEquals((await init(trusted))["status"], "ok");
});

Deno.test("two rewraps of the same row at once: one becomes the next epoch, the other is refused", async () => {
  const rig = await walletRig();
  await init(rig);
  const rewrap = rewrapRequest(rig);
  const [first, second] = await Promise.all([rig.ask(rewrap), rig.ask(rewrap)]);
  assertEquals([first?.["key_epoch"], second?.msg], [2, "master_key_conflict"]);
  // Nor one that says afterwards that it is of the first row.
  assertEquals((await rig.ask({ ...rewrap, key_epoch: 1 })).msg, "master_key_conflict");
  assertEquals((await rig.ask({ ...rewrap, key_epoch: 2 }))["key_epoch"], 3);
});

Deno.test("while a rewrapped key is held, the row from before it is refused, and another row of its epoch", async () => {
  const rig = await walletRig();
  const old = rowOf(await init(rig));
  const rewrap = rewrapRequest(rig);
  const moved = await rig.ask(rewrap);
  assertEquals((await init(rig, old)).msg, "master_key_conflict");
  const other = restart(rig);
  const opened = { type: "master_key.init", enclave_id: 1, credential: CREDENTIAL };
  await other.ask({ ...opened, kms_key_id: rig.firstArn, ...old });
  const twin = await other.ask(rewrap);
  assertEquals(twin["key_epoch"], 2);
  const stays = { kms_key_id: rig.secondArn };
  assertEquals((await init(rig, { ...stays, ...rowOf(twin) })).msg, "master_key_conflict");
  assertEquals((await init(rig, { ...stays, ...rowOf(moved) }))["key_epoch"], 2);
});

/** A row around a private key that the parent knows, as a request has it. */
async function forged(rig: Rig, othersPublicKey?: Uint8Array<ArrayBuffer>): Promise<WireObject> {
  const row = await forgedRow(rig.local, rig.firstArn, 1, othersPublicKey);
  return {
    kms_encrypted_dek: encodeBase64(row.kmsEncryptedDek),
    encrypted_private_key: encodeBase64(row.encryptedPrivateKey),
    public_key: encodeBase64(row.publicKey),
    key_epoch: row.keyEpoch,
  };
}

Deno.test("a private key that the parent knows is not accepted for a public key that is known already", async () => {
  const rig = await walletRig();
  const stored = rowOf(await init(rig));
  const row = await forged(rig, decodeBase64(String(stored["public_key"])));
  const { service, ask } = restart(rig);
  const request = initRequest(rig);
  for (const type of ["master_key.init", "master_key.verify"]) {
    const refused = await ask({ ...request, ...row, type });
    assertEquals([refused["msg"], String(refused["details"]).includes("public_key")], ["row_rejected", true]);
  }
  assertEquals(service.state.master_key["initialised"], false);
  // Nor while the enclave holds the key itself.
  assertEquals((await rig.ask({ ...request, ...row })).msg, "master_key_conflict");
});

Deno.test("a key whose private half the parent knows opens, and its document says opened, whatever asks for it", async () => {
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  const rig = await walletRig({ attester: nsm, now: () => new Date(1_000) });
  const nonce = encodeBase64(new Uint8Array(32).fill(9));
  const origins: unknown[] = [];
  const look = async (reply: WireObject) => {
    const { userData = new Uint8Array() } = await nsm.verify(
      decodeBase64(String(reply["attestation_document"])),
      { nonce: decodeBase64(nonce) },
    );
    const said = decodeCbor(userData, { maxBytes: 512, maxDepth: 2 });
    if (said instanceof Map) origins.push([said.get("origin"), said.get("generated_at")]);
  };
  const rewrap = rewrapRequest(rig, { nonce });
  await look(await init(rig, { ...await forged(rig), nonce }));
  await look(await init(rig, { nonce }));
  await look(await rig.ask({ type: "master_key.public_info", nonce }));
  await look(await rig.ask(rewrap));
  assertEquals(origins, Array(4).fill(["opened", null]));

  // The run that makes a key says so, also of the row that it is handed back, and after a rewrap.
  const maker = await walletRig({ attester: nsm, now: () => new Date(1_000) });
  origins.length = 0;
  const made = await init(maker, { nonce });
  await look(made);
  await look(await init(maker, { ...rowOf(made), nonce }));
  await look(await maker.ask({ ...rewrap, new_kms_key_id: maker.secondArn }));
  assertEquals(origins, Array(3).fill(["generated", 1_000]));
});

Deno.test("a nonce where there is no NSM makes no key", async () => {
  const rig = await walletRig();
  assertEquals((await init(rig, { nonce: encodeBase64(new Uint8Array(32)) })).msg, "attestation_unavailable");
  assertEquals(rig.kms.calls.generateDataKey, 0);
});

Deno.test("with a measured least epoch, what init makes init opens again", async () => {
  using rig = await walletRig({ minEpoch: 3 });
  const made = (await init(rig)) as WireObject;
  assertEquals(made["key_epoch"], 3);
  const other = restart(rig, 3);
  const request = initRequest(rig, rowOf(made));
  for (const type of ["master_key.verify", "master_key.init"]) {
    assertEquals((await other.ask({ ...request, type }))["status"], "ok");
  }
  const strict = restart(rig, 4);
  assertEquals((await strict.ask({ ...request, type: "master_key.verify" }))["msg"], "row_rejected");
});

Deno.test("a change whose request was abandoned is not made", async () => {
  using rig = await walletRig();
  const row = rowOf(await init(rig));
  const abandon = new AbortController();
  const rewraps = [1, 2].map(() =>
    answer(rig.masterKey, rewrapRequest(rig), abandon.signal).then(() => "done", (thrown) => thrown.code)
  );
  abandon.abort();
  assertEquals(await Promise.all(rewraps), ["abandoned", "abandoned"]);
  assertEquals([rowOf(await init(rig)), rig.kms.calls.generateDataKey], [row, 1]);
});

Deno.test("a key whose init was abandoned is not taken into use, neither a new one nor a stored one", async () => {
  const made = await walletRig();
  const row = rowOf(await init(made));
  for (const stored of [{}, row]) {
    const { service } = restart(made);
    const kms = hold(made);
    const abandon = new AbortController();
    const reply = answer(service, initRequest(made, stored), abandon.signal)
      .then(() => "done", (thrown) => thrown.code);
    await kms.asked;
    abandon.abort();
    kms.answer();
    assertEquals([await reply, service.state.master_key["initialised"]], ["abandoned", false]);
    kms.restore();
  }
});

Deno.test("a rewrap that was abandoned while KMS made its data key is not held: signing goes on under the old row", async () => {
  using rig = await walletRig();
  const made = await init(rig);
  const kms = hold(rig);
  const abandon = new AbortController();
  const reply = answer(rig.masterKey, rewrapRequest(rig), abandon.signal)
    .then(() => "done", (thrown) => thrown.code);
  await kms.asked;
  abandon.abort();
  kms.answer();
  assertEquals(await reply, "abandoned");
  // The client never got the row of epoch 2: an enclave that held it would refuse the only row that is stored.
  assertEquals(rowOf(await init(rig, rowOf(made))), rowOf(made));
  assertEquals((await rig.ask({ type: "master_key.sign", digest: DIGEST }))["key_epoch"], 1);
});

Deno.test("a few changes are queued; the rest are answered busy", async () => {
  using rig = await walletRig();
  await init(rig);
  const replies = await Promise.all(Array.from({ length: 12 }, () => rig.ask(rewrapRequest(rig))));
  assertEquals(replies.map((reply) => reply.msg ?? "ok"), [
    "ok",
    ...Array(7).fill("master_key_conflict"),
    ...Array(4).fill("busy"),
  ]);
});
