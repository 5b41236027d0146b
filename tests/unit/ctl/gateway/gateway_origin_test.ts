/** The origin of a master key: a key that the parent knows is refused, and the proof of origin of other keys is stored. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { DatabaseSync } from "node:sqlite";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { ServiceError } from "../../../../lib/ctl/client/client.ts";
import { GatewayError } from "../../../../lib/ctl/gateway/errors.ts";
import {
  type GatewayTools,
  initMasterKey,
  masterKeyStatus,
  requireStored,
  restoreMasterKey,
  rewrapMasterKey,
  signWithMasterKey,
  verifyMasterKey,
} from "../../../../lib/ctl/gateway/gateway.ts";
import { openMasterKeyStore, type StoredMasterKey } from "../../../../lib/ctl/gateway/master_key_store.ts";
import { documentHash } from "../../../../lib/ctl/client/key_origin.ts";
import type { OriginPolicy } from "../../../../lib/ctl/gateway/origin.ts";
import { forgedRow } from "../../../helpers/forged_row.ts";
import { Folder } from "../../../helpers/folder.ts";
import { gatewayRig, killAt, Killed } from "../../../helpers/gateway_rig.ts";

const FIRST_BUILD = "a1".repeat(48);
const SECOND_BUILD = "b2".repeat(48);

/** An enclave's module, another build's under the same hypervisor, and the policies of who trusts them. */
async function nsms() {
  const first = await SimulatedNsm.start({ nsmDevice: "/nonexistent", pcrs: { 0: FIRST_BUILD } });
  const second = await SimulatedNsm.start({
    nsmDevice: "/nonexistent",
    pcrs: { 0: SECOND_BUILD },
    sibling: first,
  });
  const trust = (...builds: readonly string[]): OriginPolicy => ({
    expected: { pcrs: builds.map((build) => ({ 0: build })), verify: (...of) => first.verify(...of) },
    acceptUnproven: false,
  });
  return { first, second, trust };
}

async function attestedRig(file?: string) {
  const { first, second, trust } = await nsms();
  const store = openMasterKeyStore(file ?? ":memory:");
  const rig = await gatewayRig(store, { attester: first, origin: trust(FIRST_BUILD) });
  const make = (tools: GatewayTools) => initMasterKey(tools, 1, { keyId: rig.firstArn, allowNew: true });
  return { ...rig, first, second, trust, make };
}

async function refusedAsUnproven(run: () => Promise<unknown>, words: string): Promise<void> {
  const error = await assertRejects(run, GatewayError, words);
  assertEquals([error.code, error.hint?.includes("--accept-unproven-origin 1")], ["origin_unproven", true]);
}

const ACCEPT: OriginPolicy = { expected: undefined, acceptUnproven: true };

/** What each command does with a key; none of them may use one whose origin is not proven. */
const USES: readonly (readonly [string, (tools: GatewayTools, newKey: string) => Promise<unknown>])[] = [
  ["init", (tools) => initMasterKey(tools, 1)],
  ["verify", (tools) => verifyMasterKey(tools, 1)],
  ["rewrap", (tools, newKey) => rewrapMasterKey(tools, 1, newKey)],
  ["restore", (tools) => restoreMasterKey(tools, 1)],
  ["sign", (tools) => signWithMasterKey(tools, 1, { digest: new Uint8Array(32), scheme: "ecdsa" })],
];

/** Puts a row in the place of the stored ones, replaced ones too, as whoever can write to the database does. */
function overwriteRows(file: string, row: StoredMasterKey): void {
  const database = new DatabaseSync(file);
  for (const table of ["enclave_master_keys", "enclave_master_key_history"]) {
    database.prepare(
      `UPDATE ${table} SET kms_encrypted_dek = ?, encrypted_private_key = ?, public_key = ?, kms_key_id = ?,
       key_epoch = ? WHERE enclave_id = ?`,
    ).run(
      row.kmsEncryptedDek,
      row.encryptedPrivateKey,
      row.publicKey,
      row.kmsKeyId,
      row.keyEpoch,
      row.enclaveId,
    );
  }
  database.close();
}

Deno.test("a private key that the parent knows, given to the enclave before the first init, is not stored as the enclave's", async () => {
  using rig = await attestedRig();
  await using enclave = await rig.boot();
  const forged = await forgedRow(rig.local, rig.firstArn, 1);
  await enclave.tools.enclave.init({ row: forged });
  await refusedAsUnproven(() => rig.make(enclave.tools), "opened it from a row");
  assertEquals(rig.store.get(1), undefined);
});

Deno.test("a private key that the parent knows, in the database with the enclave's own document about it, is used by no command", async () => {
  using rig = await attestedRig();
  const forged = await forgedRow(rig.local, rig.firstArn, 1);
  await using enclave = await rig.boot();
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  const { document = new Uint8Array() } = await enclave.tools.enclave.init({ row: forged, nonce });
  rig.store.insert(forged, { document, nonce });
  for (const [, use] of USES) {
    await refusedAsUnproven(() => use(enclave.tools, rig.secondArn), "came into the enclave as a row");
  }
  const status = await masterKeyStatus(enclave.tools, 1);
  assertEquals([status.ok, status.origin?.proven], [false, false]);
  // It is accepted if its name is given.
  const accepting = { ...enclave.tools, origin: ACCEPT };
  assertEquals((await initMasterKey(accepting, 1)).origin.proven, false);
  assertEquals((await masterKeyStatus(accepting, 1)).ok, true);
});

Deno.test("a private key that the parent knows does not take over the origin of the key whose row it replaced", async () => {
  using rig = await attestedRig();
  await using honest = await rig.boot();
  const { row } = await rig.make(honest.tools);
  const forged = await forgedRow(rig.local, rig.firstArn, 1);
  await using enclave = await rig.boot();
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  const { document = new Uint8Array(), boot } = await enclave.tools.enclave.init({ row: forged, nonce });
  // The documents of the replaced key stay in the table: one of them says that it was generated.
  rig.store.replace(row, forged, boot, { document, nonce });
  assertEquals(rig.store.epochs(1).length, 2);
  await refusedAsUnproven(() => initMasterKey(enclave.tools, 1), "came into the enclave as a row");
  await refusedAsUnproven(() => rewrapMasterKey(enclave.tools, 1, rig.secondArn), "as a row");
  const status = await masterKeyStatus(enclave.tools, 1);
  assertEquals([status.ok, status.origin?.proven], [false, false]);
});

Deno.test("a row is not replaced once another row of its epoch has taken its place", async () => {
  using rig = await attestedRig();
  await using enclave = await rig.boot();
  const { row: old } = await rig.make(enclave.tools);
  const other = { ...await forgedRow(rig.local, rig.firstArn, 1), publicKey: old.publicKey };
  rig.store.replace(old, other, "another boot");
  const { row, boot } = await enclave.tools.enclave.rewrap(rig.secondArn, { keyEpoch: 1 });
  const refused = assertThrows(() => rig.store.replace(old, row, boot), GatewayError);
  assertEquals(refused.code, "master_key_changed");
  assertEquals(requireStored(rig.store, 1).encryptedPrivateKey, other.encryptedPrivateKey);
});

for (const [command, use] of USES) {
  Deno.test(`${command} refuses a row that the parent made, stored in the place of the enclave's own, whose documents are kept`, async () => {
    await using folder = await Folder.make();
    const file = `${folder.path}/keys.db`;
    using rig = await attestedRig(file);
    await using honest = await rig.boot();
    await rig.make(honest.tools);
    await rewrapMasterKey(honest.tools, 1, rig.secondArn);
    overwriteRows(file, await forgedRow(rig.local, rig.firstArn, 1));
    // The enclave is restarted and holds the forged key.
    await using enclave = await rig.boot();
    await enclave.tools.enclave.init({ row: requireStored(rig.store, 1) });
    await refusedAsUnproven(
      () => use(enclave.tools, rig.secondArn),
      "no attestation document of it is stored",
    );
  });
}

Deno.test("the document of another key proves nothing of this one", async () => {
  using rig = await attestedRig();
  await using honest = await rig.boot();
  await rig.make(honest.tools);
  const [epoch] = rig.store.epochs(1);
  using other = await attestedRig();
  const forged = await forgedRow(other.local, other.firstArn, 1);
  other.store.insert(forged, epoch?.signed);
  await using enclave = await other.boot();
  // Under one root, as AWS's is.
  const tools = { ...enclave.tools, origin: rig.trust(FIRST_BUILD) };
  await refusedAsUnproven(() => initMasterKey(tools, 1), "another key");
});

Deno.test("the origin of a generated key is proven after restarts and rewraps by its first document, and all epochs are kept", async () => {
  using rig = await attestedRig();
  let generatedAt = "";
  {
    await using enclave = await rig.boot();
    const { origin } = await rig.make(enclave.tools);
    assert(origin.proven);
    assertEquals([origin.pcr0, origin.moduleId], [FIRST_BUILD, rig.first.moduleId]);
    generatedAt = origin.generatedAt.toISOString();
  }
  await using second = await rig.boot();
  assertEquals((await initMasterKey(second.tools, 1)).how, "opened");
  await rewrapMasterKey(second.tools, 1, rig.secondArn);
  await using third = await rig.boot();
  const opened = await initMasterKey(third.tools, 1);
  assert(opened.origin.proven);
  assertEquals([opened.kept, opened.origin.generatedAt.toISOString()], [0, generatedAt]);
  assertEquals(rig.store.epochs(1).map(({ keyEpoch, signed }) => [keyEpoch, signed !== undefined]), [
    [1, true],
    [2, true],
  ]);
  assertEquals((await verifyMasterKey(third.tools, 1)).words, "opens; signs ECDSA and Schnorr");
  assertEquals((await masterKeyStatus(third.tools, 1)).ok, true);
});

Deno.test("the build that made a key must be accepted, also when another one opens it now", async () => {
  using rig = await attestedRig();
  {
    await using enclave = await rig.boot();
    await rig.make(enclave.tools);
  }
  await using enclave = await rig.boot();
  const trusting = (...builds: readonly string[]) => ({ ...enclave.tools, origin: rig.trust(...builds) });
  await refusedAsUnproven(() => initMasterKey(trusting(SECOND_BUILD), 1), "PCR 0");
  assertEquals((await initMasterKey(trusting(SECOND_BUILD, FIRST_BUILD), 1)).origin.proven, true);
});

Deno.test("a key that a build made that is not accepted is not stored", async () => {
  using rig = await attestedRig();
  await using enclave = await rig.boot();
  const tools = { ...enclave.tools, origin: rig.trust(SECOND_BUILD) };
  await refusedAsUnproven(() => rig.make(tools), "PCR 0");
  assertEquals([rig.store.get(1), rig.store.epochs(1)], [undefined, []]);
});

Deno.test("an enclave that gives no document, though it has an NSM, has no key stored", async () => {
  using rig = await attestedRig();
  await using enclave = await rig.boot();
  const { enclave: asked } = enclave.tools;
  const silent = {
    ...asked,
    init: async (options: Parameters<typeof asked.init>[0]) => ({
      ...await asked.init(options),
      document: undefined,
    }),
  };
  await refusedAsUnproven(() => rig.make({ ...enclave.tools, enclave: silent }), "no attestation document");
  assertEquals(rig.store.get(1), undefined);
});

Deno.test("the document of an earlier question of the gateway does not answer a later one", async () => {
  using rig = await attestedRig();
  await using enclave = await rig.boot();
  const { enclave: asked } = enclave.tools;
  let recorded: Uint8Array | undefined;
  const replaying = {
    ...asked,
    init: async (options: Parameters<typeof asked.init>[0]) => {
      const key = await asked.init(options);
      recorded ??= key.document;
      return { ...key, document: recorded };
    },
  };
  await rig.make({ ...enclave.tools, enclave: replaying });
  using store = openMasterKeyStore(":memory:");
  await refusedAsUnproven(() => rig.make({ ...enclave.tools, enclave: replaying, store }), "nonce");
  assertEquals(store.get(1), undefined);
});

Deno.test("without an NSM or a named build no key is made, unless its enclave is accepted by name", async () => {
  const { trust } = await nsms();
  using rig = await gatewayRig(openMasterKeyStore(":memory:"));
  await using enclave = await rig.boot();
  const init = (origin: OriginPolicy) =>
    initMasterKey({ ...enclave.tools, origin }, 1, { keyId: rig.firstArn, allowNew: true });
  await refusedAsUnproven(() => init(trust(FIRST_BUILD)), "no NSM");
  await refusedAsUnproven(() => init({ expected: undefined, acceptUnproven: false }), "no build is named");
  assertEquals(rig.kms.calls.generateDataKey, 0);
  assertEquals((await init(ACCEPT)).origin.proven, false);
  // And the next time again.
  await refusedAsUnproven(() => init(trust(FIRST_BUILD)), "no attestation document of it is stored");
  assertEquals(rig.store.epochs(1).map(({ signed }) => signed), [undefined]);
});

Deno.test("a database from before documents were stored is migrated in place; its key has none, and status reports it", async () => {
  await using folder = await Folder.make();
  const file = `${folder.path}/keys.db`;
  {
    using rig = await attestedRig(file);
    await using enclave = await rig.boot();
    const { row } = await rig.make(enclave.tools);
    const database = new DatabaseSync(file);
    database.exec("DROP TABLE enclave_master_key_epochs; PRAGMA user_version = 1");
    database.close();
    using old = openMasterKeyStore(file);
    assertEquals([old.get(1), old.epochs(1), old.problems()], [row, [], []]);
    const status = await masterKeyStatus({ ...enclave.tools, store: old }, 1);
    assertEquals([status.ok, status.origin], [
      false,
      { proven: false, why: "no attestation document of it is stored" },
    ]);
  }
});

Deno.test("a rewrap whose document does not name the one before it is not verified", async () => {
  using rig = await attestedRig();
  await using first = await rig.boot();
  const { row } = await rig.make(first.tools);
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  const [made] = rig.store.epochs(1);
  assert(made?.signed !== undefined);
  const hash = await documentHash(made.signed);
  const moved = await first.tools.enclave.rewrap(rig.secondArn, {
    keyEpoch: 1,
    nonce,
    previous: hash.with(0, (hash[0] ?? 0) ^ 1),
  });
  rig.store.replace(row, moved.row, moved.boot, { document: moved.document ?? new Uint8Array(), nonce });
  await refusedAsUnproven(() => verifyMasterKey(first.tools, 1), "the document before it");
  // It is the same key all the same.
  assertEquals((await initMasterKey(first.tools, 1)).origin.proven, true);
});

Deno.test("a gateway that is killed after a rewrap leaves an enclave ahead of its row: the next one stores the new row and its document", async () => {
  using rig = await attestedRig();
  await using enclave = await rig.boot();
  const { row: old } = await rig.make(enclave.tools);
  // get, epochs, held, sign, epochs and rewrap: killed before the reply is verified.
  const plan = { left: 2, when: "after" as const };
  const { sign, rewrap } = killAt({ ...enclave.tools.enclave }, plan);
  const dying = { ...enclave.tools, enclave: { ...enclave.tools.enclave, sign, rewrap } };
  await assertRejects(() => rewrapMasterKey(dying, 1, rig.secondArn), Killed);
  assertEquals([requireStored(rig.store, 1), plan.left], [old, 0]);
  const { how, row } = await initMasterKey(enclave.tools, 1);
  assertEquals([how, row.keyEpoch, row.kmsKeyId], ["recovered", 2, rig.secondArn]);
  await verifyMasterKey(enclave.tools, 1);
});

Deno.test("two gateways that rewrap the same row at once: one moves it, and one row of the next epoch is stored", async () => {
  await using folder = await Folder.make();
  const file = `${folder.path}/keys.db`;
  using rig = await attestedRig(file);
  using otherStore = openMasterKeyStore(file);
  await using enclave = await rig.boot();
  await rig.make(enclave.tools);
  // Both have read the row before either asks.
  const { enclave: asked } = enclave.tools;
  const both = Promise.withResolvers<void>();
  let arrived = 0;
  const together: GatewayTools["enclave"] = {
    ...asked,
    rewrap: async (...args) => {
      if (++arrived === 2) both.resolve();
      await both.promise;
      return await asked.rewrap(...args);
    },
  };
  const tools = { ...enclave.tools, enclave: together };
  const outcomes = await Promise.allSettled([
    rewrapMasterKey(tools, 1, rig.secondArn),
    rewrapMasterKey({ ...tools, store: otherStore }, 1, rig.secondArn),
  ]);
  const refused = outcomes.flatMap((outcome) => outcome.status === "rejected" ? [outcome.reason] : []);
  assertEquals(refused.map(({ code }) => code), ["master_key_conflict"]);
  assert(refused[0] instanceof ServiceError);
  assertEquals(rig.store.epochs(1).map(({ keyEpoch }) => keyEpoch), [1, 2]);
  assertEquals([requireStored(otherStore, 1).keyEpoch, rig.store.history(1).length], [2, 1]);
});

Deno.test("two runs of an enclave that rewrap the same row: the table accepts one of the two", async () => {
  using rig = await attestedRig();
  await using first = await rig.boot();
  const { row: old } = await rig.make(first.tools);
  await using second = await rig.boot();
  await second.tools.enclave.init({ row: old });
  const [one, two] = await Promise.all(
    [first, second].map(({ tools }) => tools.enclave.rewrap(rig.secondArn, { keyEpoch: 1 })),
  );
  assert(one !== undefined && two !== undefined);
  assertEquals([one.row.keyEpoch, two.row.keyEpoch], [2, 2]);
  rig.store.replace(old, one.row, one.boot);
  const refused = assertThrows(() => rig.store.replace(old, two.row, two.boot), GatewayError);
  assertEquals([refused.code, encodeHex(requireStored(rig.store, 1).encryptedPrivateKey)], [
    "master_key_changed",
    encodeHex(one.row.encryptedPrivateKey),
  ]);
});
