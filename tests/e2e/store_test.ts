/**
 * The stores of accounts: one contract, over SQLite, dynalite and moto (both speak DynamoDB's protocol); and
 * failures of the network.
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { type AccountRow, type AccountStore, StoreError } from "../../lib/ctl/stores/account_store.ts";
import { openDynamoDbStore } from "../../lib/ctl/stores/dynamodb.ts";
import { openSqliteStore } from "../../lib/ctl/stores/sqlite.ts";
import { startLossyProxy } from "../helpers/lossy_proxy.ts";
import { hasMoto, type PeerServer, shareDynalite, shareMoto } from "../helpers/peers.ts";
import { Folder } from "../helpers/folder.ts";

const credentials = new CredentialSource(() =>
  Promise.resolve({ accessKeyId: "test", secretAccessKey: "test" })
);

function row(name: string, more: Partial<AccountRow> = {}): AccountRow {
  return {
    name,
    keyId: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    encryptedPrivateKey: `sealed ${name}`,
    address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    encryptedDataKey: "wrapped",
    version: 1,
    created: "2026-11-21T00:00:00.000Z",
    ...more,
  };
}

function dynamoDb(endpoint: string, table = "AccountTable"): AccountStore {
  return openDynamoDbStore({ table, region: "us-east-1", credentials, endpoint, requestMs: 2_000 });
}

async function names(store: AccountStore): Promise<readonly string[]> {
  const found: string[] = [];
  for await (const { name } of store.list()) found.push(name);
  return found.sort();
}

/** Where each kind of store is opened. */
interface Place extends AsyncDisposable {
  open(): AccountStore;
}

async function sqlitePlace(): Promise<Place> {
  const folder = await Folder.make();
  return {
    open: () => openSqliteStore(`${folder.path}/accounts.sqlite`),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

function serverPlace(start: () => Promise<PeerServer>): () => Promise<Place> {
  return async () => {
    const server = await start();
    return { open: () => dynamoDb(server.url), [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  };
}

const freshDynalite = shareDynalite();
const PLACES: readonly (readonly [string, () => Promise<Place>])[] = [
  ["SQLite", sqlitePlace],
  ["dynalite", serverPlace(freshDynalite)],
  ...(hasMoto() ? [["moto", serverPlace(shareMoto())] as const] : []),
];

for (const [kind, place] of PLACES) {
  const test = (behaviour: string, run: (place: Place, store: AccountStore) => Promise<void>) => {
    // The AWS SDK keeps sockets of its own for a while.
    Deno.test({ name: `${kind}: ${behaviour}`, sanitizeResources: false, sanitizeOps: false }, async () => {
      await using where = await place();
      await using store = where.open();
      await store.createTable();
      await run(where, store);
    });
  };

  test("a row comes back as it was stored, and by another connection too", async (where, store) => {
    const rows = [
      row("alice"),
      row("Zoë ☃ 🔑", { attestation: "doc", nonce: "nonce" }),
      row("a' OR 1=1 --", { version: 1, created: "" }),
    ];
    for (const each of rows) await store.insert(each);
    await using other = where.open();
    for (const each of rows) assertEquals(await other.get(each.name), each);
  });

  test("a name that is taken is refused, and the row that is there stays", async (_, store) => {
    await store.insert(row("alice"));
    const error = await assertRejects(
      () => store.insert(row("alice", { encryptedPrivateKey: "of somebody else" })),
      StoreError,
    );
    assertEquals([error.code, await store.get("alice")], ["account_exists", row("alice")]);
  });

  test("of many clients that take a name at once, one gets it", async (where, store) => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, async (_, index) => {
        await using other = where.open();
        await other.insert(row("alice", { encryptedPrivateKey: `sealed ${index}` }));
        return index;
      }),
    );
    const won = outcomes.filter((outcome) => outcome.status === "fulfilled");
    assertEquals(won.length, 1);
    assertEquals((await store.get("alice"))?.encryptedPrivateKey, `sealed ${won[0]?.value}`);
  });

  test("a long list is returned completely, page by page", async (_, store) => {
    const wanted = Array.from({ length: 600 }, (_, index) => `account-${String(index).padStart(4, "0")}`);
    // Rows of 4 KB: more than one page of a scan (1 MB).
    for (const name of wanted) await store.insert(row(name, { encryptedDataKey: "x".repeat(4_000) }));
    assertEquals(await names(store), wanted);
  });

  const moved = row("alice", {
    keyId: "k2",
    encryptedPrivateKey: "sealed anew",
    encryptedDataKey: "wrapped anew",
  });

  test("a row is replaced by another of the same account", async (where, store) => {
    const old = row("alice", { attestation: "doc", nonce: "nonce" });
    await store.insert(old);
    const attested = { ...moved, attestation: "doc 2", nonce: "nonce 2", history: "[1]" };
    await store.replace(old, attested);
    await using other = where.open();
    assertEquals(await other.get("alice"), attested);
    // What the new row does not have is gone.
    await other.replace(attested, row("alice"));
    assertEquals(await store.get("alice"), row("alice"));
  });

  test("a row that is not the old one any more is not replaced, nor is one made", async (_, store) => {
    for (const stored of [row("alice", { encryptedPrivateKey: "of another move" }), undefined]) {
      if (stored !== undefined) await store.insert(stored);
      const other = row(stored?.name ?? "nobody");
      const error = await assertRejects(
        () => store.replace(other, { ...moved, name: other.name }),
        StoreError,
      );
      assertEquals([error.code, await store.get(other.name)], ["account_changed", stored]);
    }
  });

  test("of many that replace a row at once, one does", async (where, store) => {
    await store.insert(row("alice"));
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, async (_, index) => {
        await using other = where.open();
        await other.replace(row("alice"), { ...moved, encryptedPrivateKey: `sealed ${index}` });
        return index;
      }),
    );
    const won = outcomes.filter((outcome) => outcome.status === "fulfilled");
    assertEquals(won.length, 1);
    assertEquals((await store.get("alice"))?.encryptedPrivateKey, `sealed ${won[0]?.value}`);
  });

  test("a table that is there is found, with its rows", async (_, store) => {
    await store.insert(row("alice"));
    assertEquals(await store.createTable(), "exists");
    assertEquals(await names(store), ["alice"]);
  });
}

Deno.test("SQLite: only the owner can read the file, and it is in WAL mode and intact", async () => {
  await using place = await sqlitePlace();
  await using store = place.open();
  await store.insert(row("alice"));
  const file = store.description.replace("SQLite file ", "");
  assertEquals(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(file);
  try {
    assertEquals({ ...database.prepare("PRAGMA journal_mode").get() as object }, { journal_mode: "wal" });
    assertEquals({ ...database.prepare("PRAGMA integrity_check").get() as object }, {
      integrity_check: "ok",
    });
  } finally {
    database.close();
  }
});

Deno.test("SQLite: a file that is no database, or of a newer version, is refused by its name", async () => {
  await using folder = await Folder.make();
  const directory = folder.path;
  const file = `${directory}/text`;
  await Deno.writeTextFile(file, "this is no database, whatever one may think of it".repeat(100));
  const error = assertRejects(() => Promise.resolve().then(() => openSqliteStore(file)), StoreError);
  assertEquals([(await error).code, (await error).message.includes(file)], ["store_unavailable", true]);
  const newer = `${directory}/newer`;
  await openSqliteStore(newer)[Symbol.asyncDispose]();
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(newer);
  database.exec("PRAGMA user_version = 99");
  database.close();
  await assertRejects(
    () => Promise.resolve().then(() => openSqliteStore(newer)),
    StoreError,
    "newer version",
  );
});

Deno.test("SQLite: a file that is not there is made when that is asked for, and a folder never is", async () => {
  await using folder = await Folder.make();
  const directory = folder.path;
  const file = `${directory}/accounts.sqlite`;
  const missing = assertThrows(() => openSqliteStore(file, { create: false }), StoreError);
  assertEquals([missing.code, missing.hint?.includes("account create --create")], ["store_missing", true]);
  const none = `${directory}/none`;
  const noFolder = assertThrows(() => openSqliteStore(`${none}/accounts.sqlite`), StoreError);
  assertEquals(noFolder.code, "store_unavailable");
  assertEquals(noFolder.hint?.includes(`Make the folder ${none} first`), true, noFolder.hint);
  assertEquals(Array.from(Deno.readDirSync(directory)), []);
  await openSqliteStore(file, { create: true })[Symbol.asyncDispose]();
  await openSqliteStore(file, { create: false })[Symbol.asyncDispose]();
});

const networkTest = (behaviour: string, run: (server: PeerServer) => Promise<void>) =>
  Deno.test({ name: `DynamoDB: ${behaviour}`, sanitizeResources: false, sanitizeOps: false }, async () => {
    await using server = await freshDynalite();
    await using store = dynamoDb(server.url);
    await store.createTable();
    await run(server);
  });

networkTest(
  "an answer that is lost after the write is found out: the account is there, once",
  async (server) => {
    using proxy = startLossyProxy(server.url);
    let lost = 0;
    proxy.fate = (request) => request.includes(".PutItem") && lost++ === 0 ? "lose the answer" : "pass";
    await using store = dynamoDb(proxy.url);
    await store.insert(row("alice"));
    assertEquals([await store.get("alice"), await names(store), lost > 1], [row("alice"), ["alice"], true]);
  },
);

networkTest("an answer that is lost does not hide that the name was taken before", async (server) => {
  await using direct = dynamoDb(server.url);
  await direct.insert(row("alice", { encryptedPrivateKey: "the first" }));
  using proxy = startLossyProxy(server.url);
  let lost = 0;
  proxy.fate = (request) => request.includes(".PutItem") && lost++ === 0 ? "lose the answer" : "pass";
  await using store = dynamoDb(proxy.url);
  const error = await assertRejects(() => store.insert(row("alice")), StoreError);
  assertEquals([error.code, (await direct.get("alice"))?.encryptedPrivateKey], [
    "account_exists",
    "the first",
  ]);
});

networkTest("an answer that is lost after a row was replaced is found out", async (server) => {
  using proxy = startLossyProxy(server.url);
  await using store = dynamoDb(proxy.url);
  await store.insert(row("alice"));
  let lost = 0;
  proxy.fate = (request) => request.includes(".PutItem") && lost++ === 0 ? "lose the answer" : "pass";
  const moved = row("alice", { encryptedPrivateKey: "sealed anew" });
  await store.replace(row("alice"), moved);
  assertEquals([await store.get("alice"), lost > 1], [moved, true]);
});

networkTest("a row that is replaced keeps what other programs have written into it", async (server) => {
  const Item = { Name: "bob", KeyId: "k", EncryptedPrivateKey: "p", Address: "0x", EncryptedDataKey: "d" };
  await putItem(server.url, { ...Item, owner: "treasury" });
  await using store = dynamoDb(server.url);
  const old = await store.get("bob");
  assert(old !== undefined);
  await store.replace(old, { ...old, encryptedPrivateKey: "p2" });
  const { DynamoDBDocumentClient, DynamoDBClient, GetCommand } = await import(
    "../../lib/ctl/aws/deps/aws_sdk.ts"
  );
  const client = DynamoDBDocumentClient.from(
    new DynamoDBClient({
      region: "us-east-1",
      endpoint: server.url,
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
    }),
  );
  const found = await client.send(new GetCommand({ TableName: "AccountTable", Key: { Name: "bob" } }));
  client.destroy();
  assertEquals([found.Item?.["owner"], found.Item?.["EncryptedPrivateKey"]], ["treasury", "p2"]);
});

networkTest("a server that is away is said to be, with a remedy, and comes back", async (server) => {
  using proxy = startLossyProxy(server.url);
  await using store = dynamoDb(proxy.url);
  proxy.fate = () => "refuse";
  for (const attempt of [() => store.get("alice"), () => store.insert(row("alice")), () => names(store)]) {
    const error = await assertRejects(attempt, StoreError);
    assertEquals([error.code, error.hint !== undefined], ["store_unavailable", true]);
  }
  proxy.fate = () => "pass";
  await store.insert(row("alice"));
  assertEquals(await names(store), ["alice"]);
});

networkTest("a table that is missing is named, with the command that makes it", async (server) => {
  await using store = dynamoDb(server.url, "NoSuchTable");
  const error = await assertRejects(() => store.get("alice"), StoreError, "NoSuchTable");
  assertEquals([error.code, error.hint?.includes("account create-table")], ["store_table_missing", true]);
});

/** Writes a row as another program does. */
async function putItem(endpoint: string, Item: Readonly<Record<string, string>>): Promise<void> {
  const { DynamoDBClient, DynamoDBDocumentClient, PutCommand } = await import(
    "../../lib/ctl/aws/deps/aws_sdk.ts"
  );
  const keys = { accessKeyId: "a", secretAccessKey: "b" };
  const client = DynamoDBDocumentClient.from(
    new DynamoDBClient({ region: "us-east-1", endpoint, credentials: keys }),
  );
  await client.send(new PutCommand({ TableName: "AccountTable", Item }));
  client.destroy();
}

networkTest("a row that lacks a column is named", async (server) => {
  await putItem(server.url, { Name: "alice", KeyId: "k" });
  await using store = dynamoDb(server.url);
  const error = await assertRejects(() => store.get("alice"), StoreError, "EncryptedPrivateKey");
  assert(error.code === "store_row_damaged");
});

networkTest("another program's rows, without version and date, are read", async (server) => {
  const Item = { Name: "bob", KeyId: "k", EncryptedPrivateKey: "p", Address: "0x", EncryptedDataKey: "d" };
  await putItem(server.url, Item);
  await using store = dynamoDb(server.url);
  assertEquals(await store.get("bob"), {
    name: "bob",
    keyId: "k",
    encryptedPrivateKey: "p",
    address: "0x",
    encryptedDataKey: "d",
    version: 1,
    created: "",
  });
});
