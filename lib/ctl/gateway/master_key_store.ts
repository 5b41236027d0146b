/**
 * Master keys in SQLite: a table of rows; beside it the replaced rows, until the new one has been used after a restart, and the history of
 * epochs with their attestation documents, which is kept.
 *
 * @module
 */
import { equalBytes } from "../../shared/bytes.ts";
import { messageOf } from "../../shared/errors.ts";
import { StoreError } from "../stores/account_store.ts";
import type { SignedStatement } from "../client/key_origin.ts";
import { asRow, attemptOn, inTransaction, type Migrations, openSqliteFile } from "../stores/sqlite_file.ts";
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

/** An epoch that a key has had. Kept when its row is dropped. */
export interface StoredEpoch
  extends Pick<StoredMasterKey, "enclaveId" | "keyEpoch" | "publicKey" | "kmsKeyId"> {
  /** The enclave's document about the row, and the nonce in it; undefined where there was no NSM. */
  readonly signed: SignedStatement | undefined;
}

/** Keeps master keys. Every change is one transaction. */
export interface MasterKeyStore extends Disposable {
  readonly file: string;
  get(enclaveId: number): StoredMasterKey | undefined;
  /** Adds the first row of an enclave. @throws {GatewayError} `master_key_changed` when another key is there */
  insert(row: StoredMasterKey, signed?: SignedStatement): void;
  /**
   * Replaces a row, which is kept in the history: a compare-and-swap on the row and its epoch. Repeating it with the same row changes nothing.
   *
   * @param boot the enclave's boot in which the row was made: it counts as proven only in a later one
   * @throws {GatewayError} `master_key_changed` when what is there is not the old row.
   */
  replace(old: StoredMasterKey, row: StoredMasterKey, boot: string, signed?: SignedStatement): void;
  /** Epochs that the enclave's keys have had, oldest first; none from before they were kept. */
  epochs(enclaveId: number): readonly StoredEpoch[];
  /** Replaced rows, oldest first, with the enclave's boot in which each was replaced. */
  history(enclaveId: number): readonly { readonly row: StoredMasterKey; readonly boot: string }[];
  /** Records that this row was opened and signed in this boot of the enclave: if it is the current row, rows replaced in other boots are deleted. */
  prove(row: StoredMasterKey, boot: string): void;
  /**
   * Restores a replaced row. The current row is kept in the history.
   *
   * @throws {GatewayError} `master_key_changed` when either is not there.
   */
  restore(kept: StoredMasterKey, boot: string): void;
  /** What `PRAGMA integrity_check` and `foreign_key_check` find; empty when the file is sound. */
  problems(): readonly string[];
}

const MIGRATIONS: Migrations = [
  // Other programs make this table too. It is taken as it is, if it has the columns.
  `CREATE TABLE IF NOT EXISTS enclave_master_keys (
     enclave_id INTEGER PRIMARY KEY,
     kms_encrypted_dek BLOB NOT NULL,
     encrypted_private_key BLOB NOT NULL,
     public_key BLOB NOT NULL,
     kms_key_id TEXT NOT NULL,
     key_epoch INTEGER DEFAULT 1
   );
   SELECT enclave_id, kms_encrypted_dek, encrypted_private_key, public_key, kms_key_id, key_epoch
     FROM enclave_master_keys LIMIT 0;
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
  `CREATE TABLE enclave_master_key_epochs (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     enclave_id INTEGER NOT NULL REFERENCES enclave_master_keys (enclave_id),
     key_epoch INTEGER NOT NULL,
     public_key BLOB NOT NULL,
     kms_key_id TEXT NOT NULL,
     stored_at TEXT NOT NULL,
     document BLOB,
     nonce BLOB,
     CHECK ((document IS NULL) = (nonce IS NULL))
   ) STRICT`,
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
  return new GatewayError(`The stored key of enclave ${enclaveId} changed during this operation`, {
    code: "master_key_changed",
    hint: "Another gateway changed it. Nothing was changed here. Check gateway status, then try again.",
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
    hint: "Restore the database from a backup: the key exists nowhere else.",
  });
}

function parseEpoch(file: string, value: unknown): StoredEpoch {
  const { enclave_id, key_epoch, public_key, kms_key_id, document, nonce } = asRow(value) ?? {};
  if (
    typeof enclave_id === "number" && typeof key_epoch === "number" && public_key instanceof Uint8Array &&
    typeof kms_key_id === "string"
  ) {
    const signed = document instanceof Uint8Array && nonce instanceof Uint8Array
      ? { document, nonce }
      : undefined;
    return {
      enclaveId: enclave_id,
      keyEpoch: key_epoch,
      publicKey: public_key,
      kmsKeyId: kms_key_id,
      signed,
    };
  }
  throw new StoreError(`A row of enclave_master_key_epochs in ${file} has a column of another type`, {
    code: "store_row_damaged",
    hint: "Restore the database from a backup: the documents exist nowhere else.",
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
    firstTime: "If this is the first time: gateway init --new makes it.",
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
  const selectEpochs = database.prepare(
    `SELECT enclave_id, key_epoch, public_key, kms_key_id, document, nonce FROM enclave_master_key_epochs
     WHERE enclave_id = ? ORDER BY id`,
  );
  const selectHistory = database.prepare(
    `SELECT ${COLUMNS}, replaced_in_boot, id FROM enclave_master_key_history WHERE enclave_id = ? ORDER BY id`,
  );

  const attempt = <T>(doing: string, run: () => T) => attemptOn(file, doing, run);

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
  function put(row: StoredMasterKey, old: StoredMasterKey): void {
    const { changes } = database.prepare(
      `UPDATE enclave_master_keys SET kms_encrypted_dek = ?, encrypted_private_key = ?, public_key = ?, kms_key_id = ?, key_epoch = ?
       WHERE enclave_id = ? AND key_epoch = ?`,
    ).run(...values(row).slice(1), row.enclaveId, old.keyEpoch);
    if (Number(changes) !== 1) throw changed(row.enclaveId);
  }

  function keepEpoch(row: StoredMasterKey, signed: SignedStatement | undefined): void {
    const { enclaveId, keyEpoch, publicKey, kmsKeyId } = row;
    const now = new Date().toISOString();
    database.prepare(
      `INSERT INTO enclave_master_key_epochs (enclave_id, key_epoch, public_key, kms_key_id, stored_at, document, nonce)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ).run(enclaveId, keyEpoch, publicKey, kmsKeyId, now, signed?.document ?? null, signed?.nonce ?? null);
  }

  return {
    file,
    get: (enclaveId) => attempt("read", () => get(enclaveId)),
    insert: (row, signed) =>
      attempt("write", () =>
        inTransaction(database, () => {
          const present = get(row.enclaveId);
          // The enclave returns the same row to concurrent requests.
          if (present !== undefined && isSameRow(present, row)) return;
          if (present !== undefined) throw changed(row.enclaveId);
          database.prepare(`INSERT INTO enclave_master_keys (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)`).run(
            ...values(row),
          );
          keepEpoch(row, signed);
        })),
    replace: (old, row, boot, signed) =>
      attempt("write", () =>
        inTransaction(database, () => {
          const present = get(old.enclaveId);
          // Another gateway found the enclave ahead of its row, and stored the new row.
          if (present !== undefined && isSameRow(present, row)) return;
          if (present === undefined || !isSameRow(present, old)) throw changed(old.enclaveId);
          keep(old, boot);
          put(row, old);
          keepEpoch(row, signed);
        })),
    epochs: (enclaveId) =>
      attempt("read", () => selectEpochs.all(enclaveId).map((row) => parseEpoch(file, row))),
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
          put(kept, present);
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
          "a history row or an epoch without its key"
        );
        return [...found, ...foreign];
      }),
    [Symbol.dispose]: () => database.close(),
  };
}
