/**
 * Opens SQLite files with this program's settings: write-ahead log, flush at every commit, foreign keys enforced, a schema version for migrations.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { StoreError } from "./account_store.ts";

/** Steps from one version of a schema to the next: the first makes version 1. */
export type Migrations = readonly string[];

const BUSY_MS = 5_000;
const FILE_MODE = 0o600;
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
    try {
      database.exec("ROLLBACK");
    } catch {
      // SQLite may have rolled back by itself, for example on a full disk. Report the first error.
    }
    throw thrown;
  }
}

/**
 * Runs a step on a file's database.
 *
 * @throws {StoreError} `store_unavailable` in place of an error that is none of this program's own.
 */
export function attemptOn<T>(file: string, doing: string, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof EnclaveError) throw thrown;
    throw new StoreError(`Cannot ${doing} in ${file}: ${messageOf(thrown)}`, {
      code: "store_unavailable",
      hint: "Check that the file exists, that its disk has space, and that no other program has locked it.",
      cause: thrown,
    });
  }
}

/** What a file is opened with. */
interface SqliteFileOptions {
  readonly migrations: Migrations;
  /** Tells this program's kinds of files apart (PRAGMA application_id). */
  readonly applicationId: number;
  /** Whether the file may be created. */
  readonly create?: boolean;
  /** What to do where the file is missing because nothing was stored yet. */
  readonly firstTime?: string;
  /** How long a statement waits for another process's lock. Milliseconds. */
  readonly busyMs?: number;
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(asRow(database.prepare(`PRAGMA ${name}`).get())?.[name]);
}

function migrate(
  database: DatabaseSync,
  file: string,
  { migrations, applicationId }: SqliteFileOptions,
): void {
  const refuse = (what: string, hint: string): never => {
    throw new StoreError(`Cannot use ${file}: ${what}`, { code: "store_failed", hint });
  };
  const version = () => pragma(database, "user_version");
  if (version() > 0 && pragma(database, "application_id") !== applicationId) {
    refuse("it is another program's database", "Name another file.");
  }
  if (version() > migrations.length) {
    refuse(
      "it was written by a newer version of this program",
      "Use that version, or restore an older copy.",
    );
  }
  if (version() === migrations.length) return;
  inTransaction(database, () => {
    // Check again inside the transaction: another process may have migrated it.
    for (const [index, step] of migrations.entries()) if (index >= version()) database.exec(step);
    database.exec(`PRAGMA user_version = ${migrations.length}; PRAGMA application_id = ${applicationId}`);
  });
}

/**
 * Opens a file, or makes it with mode 0600, and brings its schema up to date.
 *
 * @throws {StoreError} `store_missing`, `store_unavailable` or `store_failed`, with the file's name.
 */
export function openSqliteFile(file: string, options: SqliteFileOptions): DatabaseSync {
  const { create = true, busyMs = BUSY_MS } = options;
  try {
    if (file !== IN_MEMORY) prepareFile(file, create, options.firstTime);
    // An absolute path: SQLite would take one that begins with "file:" as a URI.
    const database = new DatabaseSync(file === IN_MEMORY ? file : resolve(file));
    try {
      database.exec(
        `PRAGMA busy_timeout = ${busyMs}; PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL`,
      );
      migrate(database, file, options);
      return database;
    } catch (thrown) {
      database.close();
      throw thrown;
    }
  } catch (thrown) {
    if (thrown instanceof StoreError) throw thrown;
    throw new StoreError(`Cannot open the SQLite file ${file}: ${messageOf(thrown)}`, {
      code: "store_unavailable",
      hint: thrown instanceof Deno.errors.NotFound
        ? `Make the folder ${dirname(resolve(file))} first, with mode 0700, or name a file elsewhere.`
        : "Check the path, its folder's permissions and space, and that it is a SQLite file.",
      cause: thrown,
    });
  }
}

function prepareFile(file: string, create: boolean, firstTime: string | undefined): void {
  if (create) {
    // Create the file with its mode first: SQLite would make it readable by all users.
    Deno.openSync(file, { write: true, create: true, append: true, mode: FILE_MODE }).close();
    return;
  }
  try {
    Deno.statSync(file);
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    throw new StoreError(`There is no file ${resolve(file)}`, {
      code: "store_missing",
      hint: `Check the path, and that its disk is mounted.${firstTime === undefined ? "" : ` ${firstTime}`}`,
    });
  }
}
