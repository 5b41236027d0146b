/**
 * Where the parent stores accounts: the interface of a store, and its errors. Rows are encrypted and authenticated. Losing the store loses the
 * accounts; reading it reveals only names and addresses.
 *
 * @module
 */
import { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";

/** One account. Bytes are base64. */
export interface AccountRow {
  /** The key of the table. */
  readonly name: string;
  /** ARN of the KMS key. */
  readonly keyId: string;
  /** Sealed under the data key. */
  readonly encryptedPrivateKey: string;
  /** With its checksum. */
  readonly address: string;
  /** As KMS wrapped it. */
  readonly encryptedDataKey: string;
  /** Of the row's format. */
  readonly version: number;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** The attestation document that says that the address was made in the enclave, where one was asked for. */
  readonly attestation?: string | undefined;
  /** The nonce in it. */
  readonly nonce?: string | undefined;
  /** Documents from before the account was moved to its KMS key: JSON of {@link Statement}s, oldest first. */
  readonly history?: string | undefined;
}

/** A document about an account, under the KMS key that it had. */
export interface Statement {
  readonly keyId: string;
  readonly attestation: string;
  readonly nonce: string;
}

/** Codes of {@link StoreError}. */
export type StoreErrorCode =
  | "account_exists"
  | "account_not_found"
  | "account_changed"
  | "store_table_missing"
  | "store_missing"
  | "store_unavailable"
  | "store_denied"
  | "store_row_damaged"
  | "store_failed";

/** A store operation failed. */
export class StoreError extends EnclaveError {
  override name = "StoreError";
  declare readonly code: StoreErrorCode;
  constructor(message: string, options: EnclaveErrorOptions<StoreErrorCode>) {
    super(message, options);
  }
}

/** Keeps accounts. No account is ever lost: a row is replaced only by another row of the same account. */
export interface AccountStore extends AsyncDisposable {
  /** For people: what and where. */
  readonly description: string;
  /** Creates the table if it does not exist. */
  createTable(): Promise<"created" | "exists">;
  get(name: string): Promise<AccountRow | undefined>;
  /**
   * Adds an account: when this returns, the row is on disk.
   *
   * @throws {StoreError} `account_exists` when another is there under this name; that one stays as it is.
   */
  insert(row: AccountRow): Promise<void>;
  /**
   * Replaces a row by another of the same account: a compare-and-swap on the sealed private key. When this
   * returns, the new row is on disk.
   *
   * @throws {StoreError} `account_changed` when what is there is not the old row; it stays as it is.
   */
  replace(old: AccountRow, row: AccountRow): Promise<void>;
  /** All accounts, in no particular order. */
  list(): AsyncIterable<AccountRow>;
}

/** Names of the columns. */
export const COLUMNS = {
  name: "Name",
  keyId: "KeyId",
  encryptedPrivateKey: "EncryptedPrivateKey",
  address: "Address",
  encryptedDataKey: "EncryptedDataKey",
  version: "version",
  created: "created",
  attestation: "attestation",
  nonce: "nonce",
  history: "history",
} as const satisfies Record<keyof AccountRow, string>;

/** Columns that a row may lack: `version` and `created` in rows of other programs. */
const OPTIONAL = new Set(["version", "created", "attestation", "nonce", "history"]);

/** A row as columns, of which some may be undefined. */
export function toColumns(row: AccountRow): Record<string, string | number | undefined> {
  const fields = Object.keys(COLUMNS) as (keyof AccountRow)[];
  return Object.fromEntries(fields.map((field) => [COLUMNS[field], row[field]]));
}

/** @throws {StoreError} `store_row_damaged`, with the column's name. */
export function fromColumns(columns: Readonly<Record<string, unknown>>): AccountRow {
  const text = (field: keyof AccountRow): string => {
    const value = columns[COLUMNS[field]];
    if (typeof value === "string" && value !== "") return value;
    if ((value ?? "") === "" && OPTIONAL.has(field)) return "";
    throw new StoreError(
      `The row of account ${JSON.stringify(String(columns[COLUMNS.name]).slice(0, 128))} has no ${
        COLUMNS[field]
      }`,
      { code: "store_row_damaged", hint: "Restore the row from a backup: the key exists nowhere else." },
    );
  };
  const [attestation, nonce, history] = [text("attestation"), text("nonce"), text("history")];
  return {
    name: text("name"),
    keyId: text("keyId"),
    encryptedPrivateKey: text("encryptedPrivateKey"),
    address: text("address"),
    encryptedDataKey: text("encryptedDataKey"),
    version: Number(columns[COLUMNS.version] ?? 1),
    created: text("created"),
    ...(attestation === "" ? {} : { attestation, nonce }),
    ...(history === "" ? {} : { history }),
  };
}

/** The error of a name that is taken. */
export function accountExists(name: string): StoreError {
  return new StoreError(`There is an account ${JSON.stringify(name)} already`, {
    code: "account_exists",
    hint: "It was not changed. Choose another name, or inspect it with account show.",
  });
}

/** The error of a row that somebody else has replaced. */
export function accountChanged(name: string): StoreError {
  return new StoreError(`The row of account ${JSON.stringify(name)} was changed by another program`, {
    code: "account_changed",
    hint: "Nothing was replaced. Run the command again: it reads the row that is there now.",
  });
}
