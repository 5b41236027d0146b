/**
 * Master keys in SQLite: the table of the seed, and beside it the rows that were replaced, until the new one has proven itself.
 *
 * @module
 */
import { equalBytes } from "../../bytes.ts";
import { messageOf } from "../../errors.ts";
import { StoreError } from "../stores/account_store.ts";
import { asRow, inTransaction, type Migrations, openSqliteFile } from "../stores/sqlite_file.ts";
import { GatewayError } from "./errors.ts";

/** A master key, as it is stored. */
export interface StoredMasterKey {
  readonly enclaveId: number;
  /** KMS's CiphertextBlob of the data key. */
  readonly kmsEncryptedDek: Uint8Array;
  /** Nonce, ciphertext, tag: 60 bytes. */
  readonly encryptedPrivateKey: Uint8Array;
  /** Compressed, 33 bytes. */
  readonly publicKey: Uint8Array;
  /** ARN of the KMS key. */
  readonly kmsKeyId: string;
  readonly keyEpoch: number;
}

/** Keeps master keys. Every change is one transaction. */
export interface MasterKeyStore extends Disposable {
  readonly file: string;
  get(enclaveId: number): StoredMasterKey | undefined;
  /** Adds the first row of an enclave. @throws {GatewayError} `master_key_changed` when another key is there */
  insert(row: StoredMasterKey): void;
  /**
   * Puts a row in the place of one, which is kept.
   *
   * @param boot in which life of the enclave it was made: only another one proves it
   * @throws {GatewayError} `master_key_changed` when what is there is not the old row.
   */
  replace(old: StoredMasterKey, row: StoredMasterKey, boot: string): void;
  /** Rows that were replaced, oldest first, and in which life of the enclave. */
  history(enclaveId: number): readonly { readonly row: StoredMasterKey; readonly boot: string }[];
  /** This row was opened, and signed, in this life of the enclave: if it is the present one, rows that were replaced in another are dropped. */
  prove(row: StoredMasterKey, boot: string): void;
  /**
   * Puts a row that was replaced back in the place of the present one, which is kept in its stead.
   *
   * @throws {GatewayError} `master_key_changed` when either is not there.
   */
  restore(kept: StoredMasterKey, boot: string): void;
  /** What `PRAGMA integrity_check` and `foreign_key_check` find; empty when the file is sound. */
  problems(): readonly string[];
}

const MIGRATIONS: Migrations = [
  `CREATE TABLE enclave_master_keys (
     enclave_id INTEGER PRIMARY KEY,
     kms_encrypted_dek BLOB NOT NULL,
     encrypted_private_key BLOB NOT NULL,
     public_key BLOB NOT NULL,
     kms_key_id TEXT NOT NULL,
     key_epoch INTEGER DEFAULT 1
   );
   CREATE TABLE enclave_master_key_history (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     enclave_id INTEGER NOT NULL REFERENCES enclave_master_keys (enclave_id),
     key_epoch INTEGER NOT NULL,
     kms_encrypted_dek BLOB NOT NULL,
     encrypted_private_key BLOB NOT NULL,
     public_key BLOB NOT NULL,
     kms_key_id TEXT NOT NULL,
     replaced_at TEXT NOT NULL,
     replaced_in_boot TEXT NOT NULL
   )`,
];

/** "dcmk". */
const APPLICATION_ID = 0x64636d6b;
const COLUMNS = "enclave_id, kms_encrypted_dek, encrypted_private_key, public_key, kms_key_id, key_epoch";

/** Whether two rows are the same, byte for byte. */
export function isSameRow(a: StoredMasterKey, b: StoredMasterKey): boolean {
  return a.enclaveId === b.enclaveId && a.keyEpoch === b.keyEpoch && a.kmsKeyId === b.kmsKeyId &&
    equalBytes(a.publicKey, b.publicKey) && equalBytes(a.encryptedPrivateKey, b.encryptedPrivateKey) &&
    equalBytes(a.kmsEncryptedDek, b.kmsEncryptedDek);
}

function changed(enclaveId: number): GatewayError {
  return new GatewayError(`The stored key of enclave ${enclaveId} is not the one that this was begun with`, {
    code: "master_key_changed",
    hint: "Another gateway was at work: nothing was changed. Look with gateway status, then try again.",
  });
}

function parseRow(file: string, value: unknown): StoredMasterKey {
  const columns = asRow(value) ?? {};
  const { enclave_id, kms_encrypted_dek, encrypted_private_key, public_key, kms_key_id, key_epoch } = columns;
  if (
    typeof enclave_id === "number" && kms_encrypted_dek instanceof Uint8Array &&
    encrypted_private_key instanceof Uint8Array && public_key instanceof Uint8Array &&
    typeof kms_key_id === "string" &&
    typeof key_epoch === "number"
  ) {
    return {
      enclaveId: enclave_id,
      kmsEncryptedDek: kms_encrypted_dek,
      encryptedPrivateKey: encrypted_private_key,
      publicKey: public_key,
      kmsKeyId: kms_key_id,
      keyEpoch: key_epoch,
    };
  }
  throw new StoreError(`A row of enclave_master_keys in ${file} has a column of another type`, {
    code: "store_row_damaged",
    hint: "Restore the database from a backup: nothing else has the key.",
  });
}

/**
 * Opens or makes the file.
 *
 * @throws {StoreError} with the file's name.
 */
export function openMasterKeyStore(
  file: string,
  options: { readonly create?: boolean; readonly busyMs?: number } = {},
): MasterKeyStore {
  const database = openSqliteFile(file, {
    migrations: MIGRATIONS,
    applicationId: APPLICATION_ID,
    ...options,
  });
  const values = (row: StoredMasterKey) =>
    [
      row.enclaveId,
      row.kmsEncryptedDek,
      row.encryptedPrivateKey,
      row.publicKey,
      row.kmsKeyId,
      row.keyEpoch,
    ] as const;
  const select = database.prepare(`SELECT ${COLUMNS} FROM enclave_master_keys WHERE enclave_id = ?`);
  const selectHistory = database.prepare(
    `SELECT ${COLUMNS}, replaced_in_boot, id FROM enclave_master_key_history WHERE enclave_id = ? ORDER BY id`,
  );

  function attempt<T>(doing: string, run: () => T): T {
    try {
      return run();
    } catch (thrown) {
      if (thrown instanceof StoreError || thrown instanceof GatewayError) throw thrown;
      throw new StoreError(`Cannot ${doing} in ${file}: ${messageOf(thrown)}`, {
        code: "store_unavailable",
        hint: "Check that the file is there, that its disk has space, and that no other program holds it.",
        cause: thrown,
      });
    }
  }

  function get(enclaveId: number): StoredMasterKey | undefined {
    const row = select.get(enclaveId);
    return row === undefined ? undefined : parseRow(file, row);
  }

  /** Into the history. */
  function keep(row: StoredMasterKey, boot: string): void {
    database.prepare(
      `INSERT INTO enclave_master_key_history (${COLUMNS}, replaced_at, replaced_in_boot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(...values(row), new Date().toISOString(), boot);
  }

  /** In the place of the enclave's row. */
  function put(row: StoredMasterKey): void {
    database.prepare(
      `UPDATE enclave_master_keys SET kms_encrypted_dek = ?, encrypted_private_key = ?, public_key = ?, kms_key_id = ?, key_epoch = ?
       WHERE enclave_id = ?`,
    ).run(...values(row).slice(1), row.enclaveId);
  }

  return {
    file,
    get: (enclaveId) => attempt("read", () => get(enclaveId)),
    insert: (row) =>
      attempt("write", () =>
        inTransaction(database, () => {
          const present = get(row.enclaveId);
          // The enclave gives the same row to whoever asks at the same time.
          if (present !== undefined && isSameRow(present, row)) return;
          if (present !== undefined) throw changed(row.enclaveId);
          database.prepare(`INSERT INTO enclave_master_keys (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)`).run(
            ...values(row),
          );
        })),
    replace: (old, row, boot) =>
      attempt("write", () =>
        inTransaction(database, () => {
          const present = get(old.enclaveId);
          if (present === undefined || !isSameRow(present, old)) throw changed(old.enclaveId);
          keep(old, boot);
          put(row);
        })),
    history: (enclaveId) =>
      attempt("read", () =>
        selectHistory.all(enclaveId).map((row) => ({
          row: parseRow(file, row),
          boot: String(asRow(row)?.["replaced_in_boot"]),
        }))),
    prove: (row, boot) =>
      attempt("write", () =>
        inTransaction(database, () => {
          const present = get(row.enclaveId);
          if (present === undefined || !isSameRow(present, row)) return;
          database.prepare(
            "DELETE FROM enclave_master_key_history WHERE enclave_id = ? AND replaced_in_boot <> ?",
          )
            .run(row.enclaveId, boot);
        })),
    restore: (kept, boot) =>
      attempt("write", () =>
        inTransaction(database, () => {
          const present = get(kept.enclaveId);
          const found = selectHistory.all(kept.enclaveId).find((row) => isSameRow(parseRow(file, row), kept));
          const id = asRow(found)?.["id"];
          if (present === undefined || typeof id !== "number") throw changed(kept.enclaveId);
          keep(present, boot);
          put(kept);
          database.prepare("DELETE FROM enclave_master_key_history WHERE id = ?").run(id);
        })),
    problems: () =>
      attempt("check", () => {
        let found: string[];
        try {
          found = database.prepare("PRAGMA integrity_check").all().map((row) =>
            String(asRow(row)?.["integrity_check"])
          ).filter((line) => line !== "ok");
        } catch (thrown) {
          // Damaged beyond being checked.
          return [messageOf(thrown)];
        }
        const foreign = database.prepare("PRAGMA foreign_key_check").all().map(() =>
          "a history row without its key"
        );
        return [...found, ...foreign];
      }),
    [Symbol.dispose]: () => database.close(),
  };
}
