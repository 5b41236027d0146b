/** The backup of docs/keys.md: the statement that it shows, run by another connection while the store is open. */
import { assert, assertEquals } from "@std/assert";
import { openMasterKeyStore } from "../../lib/ctl/gateway/master_key_store.ts";
import { openSqliteStore } from "../../lib/ctl/stores/sqlite.ts";
import { Folder } from "../helpers/folder.ts";

const PAGE = await Deno.readTextFile(new URL("../../docs/keys.md", import.meta.url));

/** Runs the documented statement for a database of that name; the copy's file. */
async function backUp(folder: string, name: string): Promise<string> {
  const [, statement] = new RegExp(`^sqlite3 ${name}\\.sqlite "(VACUUM INTO '[^"]+')"$`, "m").exec(PAGE) ??
    [];
  assert(statement !== undefined, `docs/keys.md has no backup of ${name}.sqlite`);
  const copy = `${folder}/${name}-copy.sqlite`;
  // Deno lets only a program with all permissions attach a database, which this statement does.
  const run = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])";
  const args = ["-c", run, `${folder}/${name}.sqlite`, statement.replace(/'.*'/, () => `'${copy}'`)];
  const { success, stderr } = await new Deno.Command("python3", { args, stdin: "null" }).output();
  assert(success, new TextDecoder().decode(stderr));
  return copy;
}

Deno.test("a backup that was made while the accounts are open has the account that was just stored", async () => {
  await using folder = await Folder.make();
  await using store = openSqliteStore(`${folder.path}/accounts.sqlite`);
  const row = {
    name: "alice",
    keyId: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    encryptedPrivateKey: "sealed",
    address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    encryptedDataKey: "wrapped",
    version: 1,
    created: "2026-11-21T00:00:00.000Z",
  };
  await store.insert(row);
  await using copy = openSqliteStore(await backUp(folder.path, "accounts"), { create: false });
  assertEquals(await copy.get("alice"), row);
});

Deno.test("a backup that was made while the gateway runs has the master key that was just stored", async () => {
  await using folder = await Folder.make();
  using store = openMasterKeyStore(`${folder.path}/gateway.sqlite`, { create: true });
  const row = {
    enclaveId: 1,
    kmsEncryptedDek: new Uint8Array([1]),
    encryptedPrivateKey: new Uint8Array([2]),
    publicKey: new Uint8Array([3]),
    kmsKeyId: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    keyEpoch: 1,
  };
  store.insert(row, undefined);
  using copy = openMasterKeyStore(await backUp(folder.path, "gateway"));
  assertEquals([copy.get(1), copy.problems()], [row, []]);
});
