/** An account under another KMS key: the same private key, a new row that opens, the old row unharmed. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { decodeBase64, encodeBase64 } from "@std/encoding";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { keyUserData } from "../../../../lib/shared/attestation/statement.ts";
import { parseAddress } from "../../../../lib/shared/crypto/ethereum_address.ts";
import { hashMessage, recoverAddress } from "../../../deps/ethers.ts";
import { CREDENTIAL, KmsRefusal, walletRig } from "../../../helpers/wallet_rig.ts";

type Rig = Awaited<ReturnType<typeof walletRig>>;

/** Asks for an account's row under the second key. */
function rewrap(rig: Rig, row: WireObject, more: WireObject = {}) {
  return rig.ask({ ...row, apiRequest: "rewrapAccount", new_key_id: rig.secondArn, ...more });
}

/** A sign request for what a rewrap gave. */
function signRequest(content: Readonly<Record<string, string>>): WireObject {
  return { ...content, apiRequest: "sign", credential: CREDENTIAL, key_id: content["keyId"], message: "hi" };
}

Deno.test("a moved account signs with the same key, and its old row still opens", async () => {
  using rig = await walletRig();
  const old = await rig.account("alice");
  const { apiResponse, content } = await rewrap(rig, old);
  assertEquals([apiResponse, content["address"], content["name"], content["keyId"]], [
    "rewrapResponse",
    old["address"],
    "alice",
    rig.secondArn,
  ]);
  for (const name of ["encryptedPrivateKey", "encryptedDataKey"]) assertNotEquals(content[name], old[name]);
  for (const request of [signRequest(content), { ...old, message: "hi" }]) {
    const { content: signed } = await rig.ask(request);
    assertEquals(recoverAddress(hashMessage("hi"), String(signed["signature"])), old["address"]);
  }
  // Back again, to a row of the first key that is another than the first one.
  const back = await rewrap(rig, signRequest(content), { new_key_id: rig.firstArn });
  assertEquals([back.content["keyId"], back.content["address"]], [rig.firstArn, old["address"]]);
  assertNotEquals(back.content["encryptedPrivateKey"], old["encryptedPrivateKey"]);
  const events = rig.events.recentSecurity(100).filter(({ event }) => event === "account_rewrapped");
  assertEquals(events.map(({ name, key, from }) => [name, key, from]), [
    ["alice", rig.secondArn, rig.firstArn],
    ["alice", rig.firstArn, rig.secondArn],
  ]);
});

Deno.test("a moved row opens under its own KMS key only", async () => {
  using rig = await walletRig();
  const { content } = await rewrap(rig, await rig.account("alice"));
  const reply = await rig.ask({ ...signRequest(content), key_id: rig.firstArn });
  assertEquals([reply.msg, reply.details.includes("key_id")], ["row_rejected", true]);
});

Deno.test("a row that KMS wraps under the new key but does not unwrap is not given out", async () => {
  using rig = await walletRig();
  const old = await rig.account("alice");
  const { decrypt } = rig.kms;
  rig.kms.decrypt = (access, request) =>
    request.keyId === rig.secondArn
      ? Promise.reject(new KmsRefusal("AccessDeniedException"))
      : decrypt(access, request);
  const reply = await rewrap(rig, old);
  assertEquals([reply.msg, reply.content], ["kms_decrypt_failed", undefined]);
  rig.kms.decrypt = decrypt;
  assertEquals((await rig.ask({ ...old, message: "hi" }))["apiResponse"], "signResponse");
});

const REFUSED: readonly (readonly [string, (rig: Rig, row: WireObject) => WireObject, string, string])[] = [
  [
    "to a key that is not allowed",
    (rig) => ({ new_key_id: rig.secondArn.replace("000000000000", "111111111111") }),
    "key_not_allowed",
    "new_key_id",
  ],
  ["to no key", () => ({ new_key_id: undefined }), "missing_fields", "new_key_id"],
  ["a row of another name", () => ({ name: "mallory" }), "row_rejected", "name"],
  [
    "a row of another address",
    () => ({ address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" }),
    "row_rejected",
    "address",
  ],
  ["a row under another key than it says", (rig) => ({ key_id: rig.secondArn }), "row_rejected", "key_id"],
  ["a row of a later version", () => ({ version: 2 }), "row_rejected", "version"],
  [
    "a row with another sealed key",
    () => ({ encryptedPrivateKey: encodeBase64(new Uint8Array(60)) }),
    "row_rejected",
    "encryptedPrivateKey",
  ],
  [
    "a nonce where there is no NSM",
    () => ({ nonce: encodeBase64(new Uint8Array(32)) }),
    "attestation_unavailable",
    "",
  ],
  [
    "a hash of 31 bytes",
    () => ({ previous_document_sha256: encodeBase64(new Uint8Array(31)) }),
    "missing_fields",
    "previous_document_sha256",
  ],
];

for (const [what, change, code, words] of REFUSED) {
  Deno.test(`an account is not moved, and no data key is made for it: ${what}`, async () => {
    using rig = await walletRig();
    const row = await rig.account("alice");
    const made = rig.kms.calls.generateDataKey;
    const reply = await rewrap(rig, row, change(rig, row));
    assertEquals([reply.msg, rig.kms.calls.generateDataKey], [code, made]);
    assert(reply.details.includes(words), reply.details);
  });
}

Deno.test("a move empties the cache of opened keys", async () => {
  using rig = await walletRig({ cache: { entries: 4, maxAgeMs: 60_000 } });
  const row = await rig.account("alice");
  const isCached = async () => {
    const before = rig.kms.calls.decrypt;
    await rig.ask({ ...row, message: "hi" });
    return rig.kms.calls.decrypt === before;
  };
  assertEquals([await isCached(), await isCached()], [false, true]);
  await rewrap(rig, row);
  assertEquals(await isCached(), false);
});

Deno.test("the document of a move says that the key was opened, and names the document before it", async () => {
  using nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  const configuration = new Uint8Array(32).fill(7);
  using rig = await walletRig({ attester: nsm, configurationHash: configuration });
  const row = await rig.account("alice");
  const [nonce, previous] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const { content } = await rewrap(rig, row, {
    nonce: encodeBase64(nonce),
    previous_document_sha256: encodeBase64(previous),
  });
  const document = await nsm.verify(decodeBase64(String(content["attestationDocument"])), { nonce });
  const expected = await keyUserData({
    purpose: "wallet",
    subject: "alice",
    publicPart: parseAddress(row["address"], "address").bytes,
    keyArn: rig.secondArn,
    epoch: 0,
    from: { origin: "opened" },
    previous,
  }, configuration);
  assertEquals(document.userData, expected);
});
