/**
 * Accounts in a SQLite file: the same columns as in DynamoDB. The store for a single host, and for development.
 *
 * @module
 */
import {
  accountChanged,
  accountExists,
  type AccountRow,
  type AccountStore,
  COLUMNS,
  fromColumns,
  toColumns,
} from "./account_store.ts";
import { asRow, attemptOn, type Migrations, openSqliteFile } from "./sqlite_file.ts";

const MIGRATIONS: Migrations = [
  `CREATE TABLE accounts (
     Name TEXT PRIMARY KEY NOT NULL CHECK (Name <> ''),
     KeyId TEXT NOT NULL,
     EncryptedPrivateKey TEXT NOT NULL,
     Address TEXT NOT NULL,
     EncryptedDataKey TEXT NOT NULL,
     version INTEGER NOT NULL,
     created TEXT NOT NULL,
     attestation TEXT,
     nonce TEXT
   ) STRICT`,
  "ALTER TABLE accounts ADD COLUMN history TEXT",
];

/** "dcac". */
const APPLICATION_ID = 0x64636163;
/** SQLITE_CONSTRAINT_PRIMARYKEY (sqlite.org/rescode.html). */
const PRIMARY_KEY_TAKEN = 1555;

/**
 * Opens the file.
 *
 * @param options.create whether a missing file is created (default true); its folder never is
 * @throws {StoreError} with the file's name.
 */
export function openSqliteStore(file: string, options: { readonly create?: boolean } = {}): AccountStore {
  const database = openSqliteFile(file, {
    migrations: MIGRATIONS,
    applicationId: APPLICATION_ID,
    firstTime: "If this is the first time: account create --create makes it.",
    ...options,
  });
  const columns = Object.values(COLUMNS);
  const insert = database.prepare(
    `INSERT INTO accounts (${columns.join(", ")}) VALUES (${columns.map((name) => `:${name}`).join(", ")})`,
  );
  const update = database.prepare(
    `UPDATE accounts SET ${columns.map((name) => `${name} = :${name}`).join(", ")}
       WHERE Name = :Name AND EncryptedPrivateKey = :old`,
  );
  const select = database.prepare("SELECT * FROM accounts WHERE Name = ?");
  const after = database.prepare("SELECT * FROM accounts WHERE Name > ? ORDER BY Name LIMIT 500");

  const valuesOf = (row: AccountRow) =>
    Object.fromEntries(Object.entries(toColumns(row)).map(([name, value]) => [name, value ?? null]));
  const attempt = <T>(doing: string, run: () => T) => attemptOn(file, doing, run);

  return {
    description: `SQLite file ${file}`,
    createTable: () => Promise.resolve("exists"),
    get: (name) =>
      Promise.resolve().then(() =>
        attempt("read", () => {
          const row = asRow(select.get(name));
          return row === undefined ? undefined : fromColumns(row);
        })
      ),
    insert: (row) =>
      Promise.resolve().then(() =>
        attempt("write", () => {
          try {
            insert.run(valuesOf(row));
          } catch (thrown) {
            const code = thrown instanceof Error && "errcode" in thrown ? thrown.errcode : undefined;
            if (code === PRIMARY_KEY_TAKEN) throw accountExists(row.name);
            throw thrown;
          }
        })
      ),
    replace: (old, row) =>
      Promise.resolve().then(() =>
        attempt("write", () => {
          const { changes } = update.run({ ...valuesOf(row), old: old.encryptedPrivateKey });
          if (Number(changes) === 0) throw accountChanged(row.name);
        })
      ),
    async *list() {
      let last = "";
      for (;;) {
        const from = last;
        const page = await Promise.resolve(attempt("list", () => after.all(from)));
        for (const row of page) yield fromColumns(asRow(row) ?? {});
        const name = asRow(page.at(-1))?.[COLUMNS.name];
        if (typeof name !== "string") return;
        last = name;
      }
    },
    [Symbol.asyncDispose]: () => {
      database.close();
      return Promise.resolve();
    },
  };
}
