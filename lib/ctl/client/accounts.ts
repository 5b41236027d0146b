/**
 * Accounts from the parent's side: made in the enclave and stored before they are shown; fetched, signed
 * with, and moved to another KMS key.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { ServiceError } from "./client.ts";
import { accountExists, type AccountRow, type AccountStore, StoreError } from "../stores/account_store.ts";
import { documentHash } from "./key_origin.ts";
import { statementsOf } from "./verify_account.ts";
import type { AccountSignature, SigningPayload, WalletClient } from "./wallet_client.ts";

/** What accounts are made and used with. Borrowed. */
interface AccountTools {
  readonly store: AccountStore;
  readonly wallet: WalletClient;
}

/** Payloads that the enclave signs under one KMS call. */
const BATCH = 1_000;
const NONCE_LENGTH = 32;

/**
 * Makes an account and stores it. When this returns, the row is on disk; when it throws, the address has not been shown, so nothing
 * of value is lost.
 *
 * @param options.nonce base64: asks for an attestation document over the address, which goes into the row
 * @param options.check is given the row before it is stored: what it throws leaves nothing stored
 * @throws {StoreError} `account_exists` and others
 * @throws {ServiceError} when the enclave refuses
 */
export async function createAccount(
  { store, wallet }: AccountTools,
  name: string,
  { check, ...options }: {
    readonly keyId?: string | undefined;
    readonly nonce?: string | undefined;
    readonly check?: ((row: AccountRow) => Promise<unknown>) | undefined;
  } = {},
): Promise<AccountRow> {
  // Look the name up first to avoid the enclave's work. The store's own condition protects the old row.
  if (await store.get(name) !== undefined) throw accountExists(name);
  const row: AccountRow = {
    ...await wallet.generateAccount(name, options),
    created: new Date().toISOString(),
  };
  await check?.(row);
  await store.insert(row);
  return row;
}

/** What {@link accountMaker} and {@link accountMover} are told. */
interface AttestedOptions {
  readonly keyId?: string | undefined;
  /** Whether an account without an attestation document is refused. */
  readonly mustAttest: boolean;
  /** As that of {@link createAccount}, for accounts with a document. */
  readonly check?: ((row: AccountRow) => Promise<unknown>) | undefined;
}

type Attested = Pick<AttestedOptions, "check"> & { readonly nonce?: string };

/** Runs requests with a new nonce each; without one where there is no NSM, unless that is refused. */
function attested({ mustAttest, check }: AttestedOptions) {
  let hasNsm = true;
  return async <T>(run: (options: Attested) => Promise<T>): Promise<T> => {
    if (!hasNsm) return await run({});
    const nonce = encodeBase64(crypto.getRandomValues(new Uint8Array(NONCE_LENGTH)));
    try {
      return await run({ nonce, check });
    } catch (thrown) {
      const isUnavailable = thrown instanceof ServiceError && thrown.code === "attestation_unavailable";
      if (mustAttest || !isUnavailable) throw thrown;
      hasNsm = false;
      return await run({});
    }
  };
}

/**
 * Makes accounts as {@link createAccount} does, each with an attestation document that answers a nonce of its
 * own. Where there is no NSM they have none, unless that is refused.
 */
export function accountMaker(
  tools: AccountTools,
  options: AttestedOptions,
): (name: string) => Promise<AccountRow> {
  const { keyId } = options;
  const run = attested(options);
  return (name) => run((more) => createAccount(tools, name, { keyId, ...more }));
}

/**
 * Moves accounts to another KMS key: the enclave wraps the private key anew and opens the new row once, then
 * it replaces the old one, if that is still the stored one. Whatever fails before leaves the old row, which
 * still opens. Documents as those of {@link accountMaker}.
 *
 * @returns moves one account; undefined for one that is under that key already
 */
export function accountMover(
  { store, wallet }: AccountTools,
  options: AttestedOptions & { readonly keyId: string },
): (row: AccountRow) => Promise<AccountRow | undefined> {
  const { keyId } = options;
  const run = attested(options);
  return async (row) => {
    if ([row.keyId, row.keyId.split("/").at(-1), row.keyId.split(":").at(-1)].includes(keyId)) {
      return undefined;
    }
    const statements = statementsOf(row);
    const last = statements.at(-1);
    const previous = last &&
      encodeBase64(await documentHash({ document: decodeBase64(last.attestation) }));
    return await run(async ({ check, nonce }) => {
      const moved: AccountRow = {
        ...await wallet.rewrapAccount(row, { keyId, nonce, previous }),
        created: row.created,
        ...(last === undefined ? {} : { history: JSON.stringify(statements) }),
      };
      await check?.(moved);
      await store.replace(row, moved);
      return moved;
    });
  };
}

/**
 * The account of a name.
 *
 * @throws {StoreError} `account_not_found` and others
 */
export async function findAccount(store: AccountStore, name: string): Promise<AccountRow> {
  const row = await store.get(name);
  if (row !== undefined) return row;
  throw new StoreError(`There is no account ${JSON.stringify(name)} in ${store.description}`, {
    code: "account_not_found",
    hint: "account list shows the stored accounts.",
  });
}

/**
 * Signs payloads with an account, in order, a thousand at a time.
 *
 * @param onProgress is told how many are done
 * @throws {StoreError | ServiceError | EnclaveError}
 */
export async function signAll(
  { wallet }: AccountTools,
  row: AccountRow,
  payloads: readonly SigningPayload[],
  onProgress: (done: number) => void = () => {},
): Promise<readonly AccountSignature[]> {
  const signatures: AccountSignature[] = [];
  for (let at = 0; at < payloads.length; at += BATCH) {
    signatures.push(...await wallet.signBatch(row, payloads.slice(at, at + BATCH)));
    onProgress(signatures.length);
  }
  return signatures;
}
