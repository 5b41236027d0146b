/** The gateway: it stores a master key before showing it, opens it after a restart, moves it, and neither loses nor duplicates it if it is killed. */
import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { DatabaseSync } from "node:sqlite";
import { type Requester, ServiceError } from "../../../../lib/ctl/client/client.ts";
import { CredentialSource } from "../../../../lib/ctl/aws/credential_source.ts";
import { enclaveMasterKey } from "../../../../lib/ctl/gateway/enclave.ts";
import { GatewayError } from "../../../../lib/ctl/gateway/errors.ts";
import {
  initMasterKey,
  masterKeyStatus,
  requireStored,
  restoreMasterKey,
  rewrapMasterKey,
  signWithMasterKey,
  verifyMasterKey,
} from "../../../../lib/ctl/gateway/gateway.ts";
import {
  isSameRow,
  openMasterKeyStore,
  type StoredMasterKey,
} from "../../../../lib/ctl/gateway/master_key_store.ts";
import { StoreError } from "../../../../lib/ctl/stores/account_store.ts";
import { openSqliteStore } from "../../../../lib/ctl/stores/sqlite.ts";
import { Folder } from "../../../helpers/folder.ts";
import { gatewayRig, killAt, Killed } from "../../../helpers/gateway_rig.ts";
import { KmsRefusal } from "../../../helpers/wallet_rig.ts";

const DIGEST = new Uint8Array(32).fill(3);

/** What `gateway init --new` does. */
const init = (
  rig: { readonly firstArn: string },
  { tools }: Pick<Awaited<ReturnType<Awaited<ReturnType<typeof gatewayRig>>["boot"]>>, "tools">,
) => initMasterKey(tools, 1, { keyId: rig.firstArn, allowNew: true });

Deno.test("the first init has a key made and stores it; the second opens it; after a restart it is the same", async () => {
  using rig = await gatewayRig();
  let publicKey = "";
  {
    await using enclave = await rig.boot();
    const made = await init(rig, enclave);
    publicKey = encodeHex(made.row.publicKey);
    assertEquals([made.how, made.row.keyEpoch, made.kept], ["generated", 1, 0]);
    assertEquals((await init(rig, enclave)).how, "opened");
  }
  await using enclave = await rig.boot();
  const opened = await init(rig, enclave);
  assertEquals([opened.how, encodeHex(opened.row.publicKey)], ["opened", publicKey]);
  for (const scheme of ["ecdsa", "schnorr"] as const) {
    const { signature } = await signWithMasterKey(enclave.tools, 1, { digest: DIGEST, scheme });
    assertEquals(signature.length, 64);
  }
  assertEquals((await verifyMasterKey(enclave.tools, 1)).words, "opens; signs ECDSA and Schnorr");
});

Deno.test("another KMS key in the configuration makes no key: the stored one opens under its own", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  const { row } = await init(rig, enclave);
  const again = await initMasterKey(enclave.tools, 1, { keyId: rig.secondArn, allowNew: true });
  assertEquals([again.how, again.row, rig.kms.calls.generateDataKey], ["opened", row, 1]);
});

Deno.test("where no key is stored, none is made unless it is said to be the first time", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  const error = await assertRejects(
    () => initMasterKey(enclave.tools, 1, { keyId: rig.firstArn }),
    GatewayError,
  );
  assertEquals([error.code, error.hint?.includes("--new"), rig.kms.calls.generateDataKey], [
    "master_key_missing",
    true,
    0,
  ]);
});

Deno.test("the store drops what was replaced only for the row that was proven", async () => {
  using rig = await gatewayRig();
  await using first = await rig.boot();
  const { row: old } = await init(rig, first);
  // Another gateway's rewrap happens after this one opened the old row in another run, and before the proof.
  const { row: moved, boot } = await first.tools.enclave.rewrap(rig.secondArn, { keyEpoch: 1 });
  await using second = await rig.boot();
  await second.tools.enclave.init({ row: old });
  rig.store.replace(old, moved, boot);
  const signed = await second.tools.enclave.sign(old.publicKey, DIGEST, "ecdsa");
  rig.store.prove(old, signed.boot);
  assertEquals(rig.store.history(1).length, 1);
});

Deno.test("a key whose new KMS key cannot be used goes back to the row before, and can be moved again", async () => {
  using rig = await gatewayRig();
  await using first = await rig.boot();
  const { row: old } = await init(rig, first);
  await rewrapMasterKey(first.tools, 1, rig.secondArn);
  await using second = await rig.boot();
  const { decrypt } = rig.kms;
  rig.kms.decrypt = (access, request) =>
    request.keyId === rig.secondArn
      ? Promise.reject(new KmsRefusal("AccessDeniedException"))
      : decrypt(access, request);
  await assertRejects(() => initMasterKey(second.tools, 1), ServiceError, "AccessDenied");
  assertEquals(await restoreMasterKey(second.tools, 1), old);
  assertEquals([(await initMasterKey(second.tools, 1)).row, rig.store.history(1).length], [old, 1]);
  rig.kms.decrypt = decrypt;
  const { row: again } = await rewrapMasterKey(second.tools, 1, rig.secondArn);
  assertEquals([again.keyEpoch, rig.store.history(1).length], [2, 2]);
  await using third = await rig.boot();
  assertEquals((await initMasterKey(third.tools, 1)).kept, 0);
});

Deno.test("without a stored row that opens, restore reports the reason", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  await init(rig, enclave);
  const none = await assertRejects(() => restoreMasterKey(enclave.tools, 1), GatewayError, "none is kept");
  assertEquals(none.code, "restore_failed");
});

Deno.test("a key whose old KMS key is disabled can be moved while the enclave holds it", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  await init(rig, enclave);
  const { decrypt } = rig.kms;
  rig.kms.decrypt = (access, request) =>
    request.keyId === rig.firstArn
      ? Promise.reject(new KmsRefusal("DisabledException"))
      : decrypt(access, request);
  assertEquals((await rewrapMasterKey(enclave.tools, 1, rig.secondArn)).row.kmsKeyId, rig.secondArn);
});

Deno.test("status compares the keys, and not only their presence", async () => {
  using rig = await gatewayRig();
  using other = await gatewayRig();
  await using enclave = await rig.boot();
  await using stranger = await other.boot();
  assertEquals((await masterKeyStatus(enclave.tools, 1)).words, "holds no key: gateway init");
  await init(rig, enclave);
  await initMasterKey(stranger.tools, 1, { keyId: other.firstArn, allowNew: true });
  assertEquals([
    (await masterKeyStatus(enclave.tools, 1)).ok,
    (await masterKeyStatus(enclave.tools, 1)).words,
  ], [true, "holds it, epoch 1"]);
  const mixed = await masterKeyStatus({ ...enclave.tools, enclave: stranger.tools.enclave }, 1);
  assertEquals([mixed.ok, mixed.words.includes("ANOTHER KEY")], [false, true]);
  const swapped = enclaveMasterKey(
    2,
    enclave.client,
    new CredentialSource(() => Promise.reject(new Error("none"))),
  );
  await assertRejects(
    () => masterKeyStatus({ ...enclave.tools, enclave: swapped }, 2),
    ServiceError,
    "master_key_conflict",
  );
});

Deno.test("a database of another program is refused, and not changed", async () => {
  await using folder = await Folder.make();
  const file = `${folder.path}/keys.db`;
  await openSqliteStore(file)[Symbol.asyncDispose]();
  const error = assertThrows(() => openMasterKeyStore(file), StoreError, "another program");
  assertEquals(error.code, "store_failed");
});

/** Tables named as the gateway's that another program made before it. */
const TABLES: readonly (readonly [string, string, boolean])[] = [
  [
    "with the gateway's columns",
    `enclave_id INTEGER PRIMARY KEY, kms_encrypted_dek BLOB NOT NULL, encrypted_private_key BLOB NOT NULL,
     public_key BLOB NOT NULL, kms_key_id TEXT NOT NULL, key_epoch INTEGER DEFAULT 1`,
    true,
  ],
  ["without a column", "enclave_id INTEGER PRIMARY KEY, public_key BLOB NOT NULL", false],
];
for (const [what, columns, opens] of TABLES) {
  Deno.test(`a database whose table was made by another program is ${opens ? "used" : "refused"} ${what}`, async () => {
    await using folder = await Folder.make();
    const file = `${folder.path}/keys.db`;
    const database = new DatabaseSync(file);
    database.exec(`CREATE TABLE enclave_master_keys (${columns})`);
    database.close();
    if (!opens) {
      const error = assertThrows(() => openMasterKeyStore(file), StoreError, "no such column");
      assertEquals([error.code, error.message.includes(file)], ["store_unavailable", true]);
      return;
    }
    using rig = await gatewayRig(openMasterKeyStore(file));
    await using enclave = await rig.boot();
    const { how } = await init(rig, enclave);
    assertEquals([how, rig.store.problems()], ["generated", []]);
  });
}

Deno.test("a missing database is not created by a command that only reads", () => {
  const error = assertThrows(() => openMasterKeyStore("/nonexistent/keys.db", { create: false }), StoreError);
  assertEquals([error.code, error.message.includes("/nonexistent/keys.db")], ["store_missing", true]);
  assertEquals(error.hint?.includes("gateway init --new"), true);
});

Deno.test("rewrap keeps the old row until the new one has signed in another life of the enclave", async () => {
  using rig = await gatewayRig();
  {
    await using enclave = await rig.boot();
    const { row: old } = await init(rig, enclave);
    const { row } = await rewrapMasterKey(enclave.tools, 1, rig.secondArn);
    assertEquals([row.keyEpoch, row.kmsKeyId, encodeHex(row.publicKey)], [
      2,
      rig.secondArn,
      encodeHex(old.publicKey),
    ]);
    assert(isSameRow(rig.store.history(1)[0]?.row ?? row, old));
    // In the same run, opening it again proves nothing.
    assertEquals((await initMasterKey(enclave.tools, 1, { keyId: rig.secondArn, allowNew: true })).kept, 1);
    assertEquals(
      (await verifyMasterKey(enclave.tools, 1)).words,
      "opens, 1 replaced row too; signs ECDSA and Schnorr",
    );
  }
  await using enclave = await rig.boot();
  assertEquals((await initMasterKey(enclave.tools, 1, { keyId: rig.secondArn, allowNew: true })).kept, 0);
  assertEquals(rig.store.history(1), []);
});

Deno.test("what the enclave lacks is reported, with the command that supplies it", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  const missing = await assertRejects(
    () => signWithMasterKey(enclave.tools, 1, { digest: DIGEST, scheme: "ecdsa" }),
    GatewayError,
  );
  assertEquals([missing.code, missing.hint?.includes("gateway init --new")], ["master_key_missing", true]);
  await init(rig, enclave);
  await using restarted = await rig.boot();
  const error = await assertRejects(
    () => signWithMasterKey(restarted.tools, 1, { digest: DIGEST, scheme: "ecdsa" }),
    ServiceError,
  );
  assertEquals(error.code, "not_configured");
  assertEquals(
    (await verifyMasterKey(restarted.tools, 1)).words,
    "opens; the enclave holds no key now (gateway init)",
  );
});

Deno.test("a signature by another key than the stored one is not returned", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  const { row } = await init(rig, enclave);
  const other = row.publicKey.slice();
  other[0] = (other[0] ?? 0) ^ 1;
  const error = await assertRejects(() => enclave.tools.enclave.sign(other, DIGEST, "ecdsa"), GatewayError);
  assertEquals(error.code, "signature_wrong");
});

const COLUMNS = ["kms_encrypted_dek", "encrypted_private_key", "public_key"] as const;

for (const column of COLUMNS) {
  for (const at of ["first", "middle", "last"] as const) {
    Deno.test(`one bit of the ${at} byte of ${column} in the database: refused, and the database stays as it was`, async () => {
      await using folder = await Folder.make();
      const file = `${folder.path}/keys.db`;
      using rig = await gatewayRig(openMasterKeyStore(file));
      await using enclave = await rig.boot();
      await init(rig, enclave);
      const database = new DatabaseSync(file);
      const bytes = (database.prepare(`SELECT ${column} AS bytes FROM enclave_master_keys`).get() as {
        bytes: Uint8Array;
      }).bytes;
      const index = { first: 0, middle: bytes.length >> 1, last: bytes.length - 1 }[at];
      bytes[index] = (bytes[index] ?? 0) ^ 1;
      database.prepare(`UPDATE enclave_master_keys SET ${column} = ?`).run(bytes);
      database.close();
      const damaged = requireStored(rig.store, 1);
      await using restarted = await rig.boot();
      for (const attempt of [() => init(rig, restarted), () => verifyMasterKey(restarted.tools, 1)]) {
        const error = await assertRejects(attempt, ServiceError);
        assertEquals([error.code, error.message.includes(column)], ["row_rejected", true], error.message);
      }
      assert(isSameRow(requireStored(rig.store, 1), damaged));
    });
  }
}

Deno.test("another epoch in the database is refused", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  const { row } = await init(rig, enclave);
  rig.store.replace(row, { ...row, keyEpoch: 2 }, "another boot");
  await using restarted = await rig.boot();
  const error = await assertRejects(() => init(rig, restarted), ServiceError);
  assertEquals([error.code, error.message.includes("key_epoch")], ["row_rejected", true]);
});

Deno.test("rows of two enclaves, swapped, open for neither", async () => {
  using rig = await gatewayRig();
  await using one = await rig.boot(1);
  await using two = await rig.boot(2);
  const first = (await init(rig, one)).row;
  const second = (await initMasterKey(two.tools, 2, { keyId: rig.firstArn, allowNew: true })).row;
  rig.store.replace(first, { ...second, enclaveId: 1 }, "x");
  rig.store.replace(second, { ...first, enclaveId: 2 }, "x");
  await using again = await rig.boot(1);
  assertEquals(
    (await assertRejects(() => init(rig, again), ServiceError)).code,
    "row_rejected",
  );
  await using other = await rig.boot(2);
  assertEquals(
    (await assertRejects(
      () => initMasterKey(other.tools, 2, { keyId: rig.firstArn, allowNew: true }),
      ServiceError,
    )).code,
    "row_rejected",
  );
});

Deno.test("an unreachable or denying KMS leaves the row unchanged, and it opens when KMS is back", async () => {
  using rig = await gatewayRig();
  {
    await using enclave = await rig.boot();
    await init(rig, enclave);
  }
  await using enclave = await rig.boot();
  for (const name of ["DisabledException", "AccessDeniedException", "ThrottlingException"]) {
    rig.kms.fail = new KmsRefusal(name);
    const error = await assertRejects(() => init(rig, enclave), ServiceError);
    assertEquals([error.code, error.message.includes(name)], ["kms_decrypt_failed", true]);
  }
  rig.kms.fail = undefined;
  assertEquals((await init(rig, enclave)).how, "opened");
});

Deno.test("two gateways at once: one key", async () => {
  using rig = await gatewayRig();
  await using enclave = await rig.boot();
  const outcomes = await Promise.all(
    [1, 2, 3].map(() => init(rig, enclave)),
  );
  const keys = new Set(outcomes.map(({ row }) => encodeHex(row.publicKey)));
  assertEquals([keys.size, rig.kms.calls.generateDataKey], [1, 1]);
});

for (const when of ["before", "after"] as const) {
  for (let step = 1; step <= 12; step++) {
    Deno.test(`killed ${when} step ${step} of init, the next init ends with one key, stored, that signs`, async () => {
      using rig = await gatewayRig();
      await using enclave = await rig.boot();
      const plan = { left: step, when };
      const dying = {
        ...enclave.tools,
        store: killAt(rig.store, plan),
        enclave: killAt(enclave.tools.enclave, plan),
      };
      let seen: string | undefined;
      try {
        seen = encodeHex(
          (await initMasterKey(dying, 1, { keyId: rig.firstArn, allowNew: true })).row.publicKey,
        );
      } catch (thrown) {
        if (!(thrown instanceof Killed)) throw thrown;
      }
      const stored = rig.store.get(1);
      const { row } = await init(rig, enclave);
      if (stored !== undefined) assert(isSameRow(row, stored));
      if (seen !== undefined) assertEquals(encodeHex(row.publicKey), seen);
      assertEquals(rig.kms.calls.generateDataKey, 1);
      await using restarted = await rig.boot();
      assertEquals(
        encodeHex((await init(rig, restarted)).row.publicKey),
        encodeHex(row.publicKey),
      );
    });

    for (const restart of [false, true]) {
      Deno.test(`killed ${when} step ${step} of rewrap${restart ? ", then the enclave restarted" : ""}: the key is there, and moves the next time`, async () => {
        using rig = await gatewayRig();
        await using first = await rig.boot();
        const { row: old } = await init(rig, first);
        const plan = { left: step, when };
        const dying = {
          ...first.tools,
          store: killAt(rig.store, plan),
          enclave: killAt(first.tools.enclave, plan),
        };
        await rewrapMasterKey(dying, 1, rig.secondArn).catch((thrown) => {
          if (!(thrown instanceof Killed)) throw thrown;
        });
        await using second = await rig.boot();
        const { tools } = restart ? second : first;
        // Whichever row is stored opens, and is of the same key.
        const stored = requireStored(rig.store, 1);
        assertEquals(
          encodeHex((await initMasterKey(tools, 1)).row.publicKey),
          encodeHex(old.publicKey),
        );
        if (stored.kmsKeyId === rig.firstArn) await rewrapMasterKey(tools, 1, rig.secondArn);
        const moved = requireStored(rig.store, 1);
        assertEquals([moved.kmsKeyId, encodeHex(moved.publicKey)], [rig.secondArn, encodeHex(old.publicKey)]);
        assert(moved.keyEpoch > old.keyEpoch);
        await verifyMasterKey(tools, 1);
        await using third = await rig.boot();
        assertEquals((await initMasterKey(third.tools, 1, { keyId: rig.secondArn, allowNew: true })).kept, 0);
      });
    }
  }
}

const REPLIES: readonly (readonly [string, Record<string, unknown>])[] = [
  ["another enclave's id", { enclave_id: "2" }],
  ["a public key of 32 bytes", { public_key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }],
  ["no sealed key", { encrypted_private_key: undefined }],
  ["an invalid epoch", { key_epoch: "1" }],
  ["no boot id", { boot_id: undefined }],
];

for (const [what, change] of REPLIES) {
  Deno.test(`a reply with ${what} is refused, and nothing stored`, async () => {
    using rig = await gatewayRig();
    await using enclave = await rig.boot();
    const client: Requester = enclave.client;
    const exchange = client.exchange.bind(client);
    client.exchange = async (request) => ({ ...await exchange(request), ...change });
    const error = await assertRejects(() => init(rig, enclave), GatewayError);
    assertEquals([error.code, rig.store.get(1)], ["unexpected_reply", undefined]);
  });
}

Deno.test("the store replaces a row only if it is the expected one", async () => {
  using rig = await gatewayRig();
  const row: StoredMasterKey = {
    enclaveId: 1,
    kmsEncryptedDek: new Uint8Array([1]),
    encryptedPrivateKey: new Uint8Array(60),
    publicKey: new Uint8Array(33),
    kmsKeyId: "k",
    keyEpoch: 1,
  };
  rig.store.insert(row);
  rig.store.insert(row);
  assertThrows(() => rig.store.insert({ ...row, keyEpoch: 2 }), GatewayError);
  assertThrows(
    () => rig.store.replace({ ...row, kmsKeyId: "other" }, { ...row, keyEpoch: 2 }, "b"),
    GatewayError,
  );
  assertThrows(() => rig.store.replace({ ...row, enclaveId: 9 }, { ...row, keyEpoch: 2 }, "b"), GatewayError);
  assertEquals([rig.store.get(1), rig.store.history(1)], [row, []]);
  assertEquals(rig.store.problems(), []);
  assertNotEquals(rig.store.get(2), row);
});
