/**
 * Accounts moved to another KMS key, from the parent's side: the stored row always opens, and its origin
 * stays proven.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { accountMover, createAccount } from "../../../../lib/ctl/client/accounts.ts";
import { type Requester, ServiceError } from "../../../../lib/ctl/client/client.ts";
import { statementsOf, verifyAccount } from "../../../../lib/ctl/client/verify_account.ts";
import { type AccountRow, StoreError } from "../../../../lib/ctl/stores/account_store.ts";
import { openSqliteStore } from "../../../../lib/ctl/stores/sqlite.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { hashMessage, recoverAddress } from "../../../deps/ethers.ts";
import { accountRig } from "../../../helpers/account_rig.ts";
import { MemoryStore } from "../../../helpers/memory_store.ts";
import { KmsRefusal } from "../../../helpers/wallet_rig.ts";

const NONCE = encodeBase64(crypto.getRandomValues(new Uint8Array(32)));

/** An account under the first of two keys, and what moves it to the second. */
async function setUp() {
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  const rig = await accountRig({ attester: nsm, keys: 3 });
  const [first = "", second = "", third = ""] = rig.keyArns;
  const store = new MemoryStore();
  const tools = { store, wallet: rig.wallet };
  const row = await createAccount(tools, "alice", { nonce: NONCE, keyId: first });
  const expected = { verify: nsm.verify.bind(nsm), pcrs: { 0: encodeHex(await nsm.pcr(0)) } };
  const check = (moved: AccountRow) => verifyAccount(moved, { ...expected, at: new Date() });
  const mover = (keyId = second) => accountMover(tools, { keyId, mustAttest: true, check });
  const signs = async (stored: AccountRow | undefined) => {
    assert(stored !== undefined);
    const { signature } = await rig.wallet.sign(stored, { message: "hi" });
    return recoverAddress(hashMessage("hi"), signature) === row.address;
  };
  return {
    nsm,
    rig,
    store,
    tools,
    row,
    expected,
    mover,
    signs,
    second,
    third,
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
}

Deno.test("a moved account is stored under the new key, signs, and its documents form a chain to where its key was made", async () => {
  await using setup = await setUp();
  const { row, store, second, third, expected } = setup;
  const once = await setup.mover()(row);
  assert(once !== undefined);
  const twice = await setup.mover(third)(once);
  assertEquals([store.rows.get("alice"), twice?.keyId, twice?.address], [twice, third, row.address]);
  assert(twice !== undefined && await setup.signs(twice));
  assertEquals(statementsOf(twice).map(({ keyId }) => keyId), [row.keyId, second, third]);
  const { generatedAt } = await verifyAccount(row, expected);
  assertEquals((await verifyAccount(twice, expected)).generatedAt, generatedAt);
  assertEquals([twice.created, twice.name], [row.created, "alice"]);
});

Deno.test("an account that is under the key already, by its ARN or its id, is left alone", async () => {
  await using setup = await setUp();
  for (const keyId of [setup.row.keyId, setup.row.keyId.split("/")[1] ?? ""]) {
    const calls = setup.rig.kms.calls.decrypt;
    assertEquals([await setup.mover(keyId)(setup.row), setup.rig.kms.calls.decrypt], [undefined, calls]);
  }
});

Deno.test("of two moves of the same row, the second is refused, and the first one's row stays", async () => {
  await using setup = await setUp();
  const first = await setup.mover()(setup.row);
  const error = await assertRejects(() => setup.mover(setup.third)(setup.row), StoreError);
  assertEquals([error.code, setup.store.rows.get("alice")], ["account_changed", first]);
  assert(await setup.signs(first));
});

/** What can stop a move, and where. */
const CRASHES: Readonly<Record<string, (setup: Awaited<ReturnType<typeof setUp>>) => void>> = {
  "before the old row is opened": ({ rig }) => rig.kms.fail = new KmsRefusal("KMSInternalException"),
  "before the new data key": ({ rig }) =>
    rig.kms.generateDataKey = () => Promise.reject(new KmsRefusal("AccessDeniedException")),
  "when the reply is lost": ({ rig }) => {
    const { exchange } = rig.client;
    (rig.client as Requester).exchange = async (...given: Parameters<typeof exchange>) => {
      await exchange.apply(rig.client, given);
      throw new Error("the connection is gone");
    };
  },
  "before the row is stored": ({ store }) => store.away = "replace",
};

for (const [where, crash] of Object.entries(CRASHES)) {
  Deno.test(`a move that ends ${where} leaves the old row, which opens, and can be repeated`, async () => {
    await using setup = await setUp();
    const { rig, store, row } = setup;
    const { generateDataKey } = rig.kms;
    const { exchange } = rig.client;
    crash(setup);
    await assertRejects(() => setup.mover()(row), Error);
    assertEquals(store.rows.get("alice"), row);
    Object.assign(rig.kms, { fail: undefined, generateDataKey });
    (rig.client as Requester).exchange = exchange;
    store.away = undefined;
    assert(await setup.signs(store.rows.get("alice")));
    assert(await setup.signs(await setup.mover()(row)));
  });
}

Deno.test("a move whose document does not verify replaces nothing", async () => {
  await using setup = await setUp();
  const check = (row: AccountRow) => verifyAccount(row, { ...setup.expected, pcrs: { 0: "ab".repeat(48) } });
  const move = accountMover(setup.tools, { keyId: setup.second, mustAttest: true, check });
  await assertRejects(() => move(setup.row), AttestationError);
  assertEquals(setup.store.rows.get("alice"), setup.row);
});

Deno.test("an enclave that answers with another account's row is refused", async () => {
  await using setup = await setUp();
  const { client } = setup.rig;
  const bob = await createAccount(setup.tools, "bob", { keyId: setup.row.keyId });
  const { exchange } = client;
  (client as Requester).exchange = (request) =>
    exchange.call(client, request["apiRequest"] === "rewrapAccount" ? { ...request, ...wire(bob) } : request);
  const move = accountMover(setup.tools, { keyId: setup.second, mustAttest: false });
  const error = await assertRejects(() => move(setup.row), EnclaveError);
  assertEquals(error.code, "unexpected_reply");
  assertEquals(setup.store.rows.get("alice"), setup.row);
});

function wire({ name, address, encryptedPrivateKey, encryptedDataKey }: AccountRow) {
  return { name, address, encryptedPrivateKey, encryptedDataKey };
}

Deno.test("a history that was changed does not verify", async () => {
  await using setup = await setUp();
  const moved = await setup.mover(setup.third)(await setup.mover()(setup.row) ?? setup.row);
  assert(moved !== undefined);
  const [first, second] = statementsOf(moved);
  const again = encodeBase64(
    await setup.nsm.attest({ userData: new Uint8Array(1), nonce: decodeBase64(NONCE) }),
  );
  const histories: readonly (readonly [string, readonly unknown[]])[] = [
    ["without its end", [first]],
    ["without its beginning", [second]],
    ["in another order", [second, first]],
    ["of another KMS key", [{ ...first, keyId: setup.third }, second]],
    ["with another document", [first, { ...second, attestation: again }]],
    ["empty", []],
  ];
  for (const [what, history] of histories) {
    const changed = { ...moved, history: JSON.stringify(history) };
    const error = await assertRejects(() => verifyAccount(changed, setup.expected), AttestationError);
    assertEquals([what, error.code], [
      what,
      what === "with another document" ? "attestation_nonce" : "attestation_user_data",
    ]);
  }
  for (const history of ["{", "{}", "[1]", '[{"keyId":1}]']) {
    const error = await assertRejects(() => verifyAccount({ ...moved, history }, setup.expected), StoreError);
    assertEquals(error.code, "store_row_damaged");
  }
  await verifyAccount(moved, setup.expected);
});

Deno.test("where there is no NSM an account is moved without a document, unless one is wanted", async () => {
  await using rig = await accountRig({ keys: 2 });
  const [first = "", second = ""] = rig.keyArns;
  const tools = { store: new MemoryStore(), wallet: rig.wallet };
  const row = await createAccount(tools, "alice", { keyId: first });
  const refused = accountMover(tools, { keyId: second, mustAttest: true });
  assertEquals((await assertRejects(() => refused(row), ServiceError)).code, "attestation_unavailable");
  const moved = await accountMover(tools, { keyId: second, mustAttest: false })(row);
  assertEquals([moved?.keyId, moved?.attestation, moved?.history], [second, undefined, undefined]);
});

Deno.test("a SQLite file of before accounts could be moved is opened, and its accounts are moved", async () => {
  const file = await Deno.makeTempFile();
  try {
    await using setup = await setUp();
    const { DatabaseSync } = await import("node:sqlite");
    const database = new DatabaseSync(file);
    database.exec(
      `CREATE TABLE accounts (Name TEXT PRIMARY KEY NOT NULL CHECK (Name <> ''), KeyId TEXT NOT NULL,
      EncryptedPrivateKey TEXT NOT NULL, Address TEXT NOT NULL, EncryptedDataKey TEXT NOT NULL,
      version INTEGER NOT NULL, created TEXT NOT NULL, attestation TEXT, nonce TEXT) STRICT;
      PRAGMA user_version = 1; PRAGMA application_id = ${0x64636163}`,
    );
    const { row } = setup;
    const { keyId, encryptedPrivateKey, address, encryptedDataKey, version, created, attestation, nonce } =
      row;
    const values = ["alice", keyId, encryptedPrivateKey, address, encryptedDataKey, version, created];
    database.prepare("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(...values, attestation ?? null, nonce ?? null);
    database.close();
    await using store = openSqliteStore(file, { create: false });
    assertEquals(await store.get("alice"), row);
    const moved = await accountMover({ store, wallet: setup.rig.wallet }, {
      keyId: setup.second,
      mustAttest: true,
    })(row);
    assertEquals([await store.get("alice"), moved?.keyId], [moved, setup.second]);
  } finally {
    for (const name of [file, `${file}-wal`, `${file}-shm`]) await Deno.remove(name).catch(() => {});
  }
});
