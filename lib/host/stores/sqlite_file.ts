/**
 * A SQLite file as this program wants it: written ahead, flushed at every commit, foreign keys held, a version to migrate by.
 *
 * @module
 */
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../errors.ts";
import { StoreError } from "./account_store.ts";

/** Steps from one version of a schema to the next: the first makes version 1. */
export type Migrations = readonly string[];

/** How long a statement waits for another process's lock. Milliseconds. */
const BUSY_MS = 5_000;
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;
/** SQLite's name for a database that is gone when it is closed. */
const IN_MEMORY = ":memory:";

/** A row as its columns: the types of `node:sqlite` differ from version to version. */
export function asRow(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null ? value as Readonly<Record<string, unknown>> : undefined;
}

/** Runs statements in one transaction: all of them, or none. */
export function inTransaction<T>(database: DatabaseSync, run: () => T): T {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = run();
    database.exec("COMMIT");
    return result;
  } catch (thrown) {
    database.exec("ROLLBACK");
    throw thrown;
  }
}

function migrate(database: DatabaseSync, file: string, migrations: Migrations): void {
  const version = () => Number(asRow(database.prepare("PRAGMA user_version").get())?.["user_version"]);
  if (version() > migrations.length) {
    throw new StoreError(`Cannot use ${file}: it was written by a newer version of this program`, {
      code: "store_failed",
      hint: "Use that version, or restore a copy from before.",
    });
  }
  if (version() === migrations.length) return;
  inTransaction(database, () => {
    // Looked at again inside: another process may have been faster.
    for (const [index, step] of migrations.entries()) if (index >= version()) database.exec(step);
    database.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

/**
 * Opens or makes a file, mode 0600, and brings its schema up to date.
 *
 * @throws {StoreError} `store_unavailable` or `store_failed`, with the file's name.
 */
export function openSqliteFile(file: string, migrations: Migrations): DatabaseSync {
  try {
    if (file !== IN_MEMORY) {
      Deno.mkdirSync(dirname(file), { recursive: true, mode: FOLDER_MODE });
      // Made with its mode first: SQLite would make it readable by all.
      Deno.openSync(file, { write: true, create: true, append: true, mode: FILE_MODE }).close();
    }
    const database = new DatabaseSync(file);
    try {
      database.exec(
        `PRAGMA busy_timeout = ${BUSY_MS}; PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL`,
      );
      migrate(database, file, migrations);
      return database;
    } catch (thrown) {
      database.close();
      throw thrown;
    }
  } catch (thrown) {
    if (thrown instanceof StoreError) throw thrown;
    throw new StoreError(`Cannot open the SQLite file ${file}: ${messageOf(thrown)}`, {
      code: "store_unavailable",
      hint: "Check the path, its folder's permissions and space, and that it is a SQLite file.",
      cause: thrown,
    });
  }
}
