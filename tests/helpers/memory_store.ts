/**
 * A store of accounts in memory, with failures that a test scripts.
 *
 * @module
 */
import {
  accountChanged,
  accountExists,
  type AccountRow,
  type AccountStore,
  StoreError,
} from "../../lib/ctl/stores/account_store.ts";

/** The store. */
export class MemoryStore implements AccountStore {
  readonly description = "a store in memory";
  readonly rows = new Map<string, AccountRow>();
  /** Makes the next call of this name fail. */
  away: "get" | "insert" | "replace" | undefined;

  #check(call: "get" | "insert" | "replace"): void {
    if (this.away !== call) return;
    throw new StoreError("the store is away", { code: "store_unavailable", hint: "Wait." });
  }

  createTable(): Promise<"exists"> {
    return Promise.resolve("exists");
  }

  get(name: string): Promise<AccountRow | undefined> {
    return Promise.resolve().then(() => {
      this.#check("get");
      return this.rows.get(name);
    });
  }

  insert(row: AccountRow): Promise<void> {
    return Promise.resolve().then(() => {
      this.#check("insert");
      if (this.rows.has(row.name)) throw accountExists(row.name);
      this.rows.set(row.name, row);
    });
  }

  replace(old: AccountRow, row: AccountRow): Promise<void> {
    return Promise.resolve().then(() => {
      this.#check("replace");
      const present = this.rows.get(row.name);
      if (present?.encryptedPrivateKey !== old.encryptedPrivateKey) throw accountChanged(row.name);
      this.rows.set(row.name, row);
    });
  }

  async *list(): AsyncIterable<AccountRow> {
    yield* this.rows.values();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
