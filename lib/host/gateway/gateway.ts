/**
 * The gateway: between the enclaves' master keys and the database. A key that was made is stored before anybody hears of it; a row that was
 * replaced is kept until the new one has been opened and has signed in another life of the enclave.
 *
 * What a gateway that dies leaves behind: before the first row is stored, an enclave with a key that it gives again to whoever asks; after a rewrap, an
 * enclave that is one epoch ahead of its row, which still opens.
 *
 * @module
 */
import { ServiceError } from "../client.ts";
import type { EnclaveKey, EnclaveMasterKey, MasterKeySignature, Scheme } from "./enclave.ts";
import { GatewayError } from "./errors.ts";
import { isSameRow, type MasterKeyStore, type StoredMasterKey } from "./master_key_store.ts";

/** What the gateway works with. Borrowed. */
export interface GatewayTools {
  readonly store: MasterKeyStore;
  readonly enclave: EnclaveMasterKey;
}

/** How an `init` went. */
export interface InitOutcome {
  readonly row: StoredMasterKey;
  /** Made now, opened from its row, or held already by an enclave whose row had not been stored. */
  readonly how: "generated" | "opened" | "recovered";
  /** Rows that are kept still. */
  readonly kept: number;
}

const PROOF_LENGTH = 32;

/** Has the key sign, and drops what was replaced in another life of the enclave. */
async function prove({ store, enclave }: GatewayTools, row: StoredMasterKey): Promise<number> {
  const digest = crypto.getRandomValues(new Uint8Array(PROOF_LENGTH));
  const { boot } = await enclave.sign(row.publicKey, digest, "ecdsa");
  store.prove(row.enclaveId, boot);
  return store.history(row.enclaveId).length;
}

function refuseOtherKey(row: StoredMasterKey, keyId: string | undefined): void {
  if (keyId === undefined || keyId === row.kmsKeyId || !keyId.startsWith("arn:")) return;
  throw new GatewayError(
    `Enclave ${row.enclaveId}'s key is wrapped by ${row.kmsKeyId}, and the configuration names ${keyId}`,
    {
      code: "kms_key_changed",
      hint:
        "A key is not made anew for that: set kms.key_id back, run gateway init, then gateway rewrap --to <the new ARN>.",
    },
  );
}

/**
 * Puts the stored key into the enclave; the first time, has one made and stores it.
 *
 * @param keyId of the configuration: an ARN, or in development an id or alias
 * @throws {GatewayError | StoreError | ServiceError}; the database then is as it was.
 */
export async function initMasterKey(
  tools: GatewayTools,
  enclaveId: number,
  keyId: string | undefined,
): Promise<InitOutcome> {
  const { store, enclave } = tools;
  const stored = store.get(enclaveId);
  if (stored !== undefined) {
    refuseOtherKey(stored, keyId);
    const opened = await enclave.init({ row: stored });
    if (!isSameRow(opened.row, stored)) throw otherKey(stored);
    return { row: stored, how: "opened", kept: await prove(tools, stored) };
  }
  const made = await enclave.init({ keyId });
  store.insert(made.row);
  const kept = await prove(tools, made.row);
  return { row: made.row, how: made.newlyGenerated ? "generated" : "recovered", kept };
}

function otherKey({ enclaveId }: StoredMasterKey): GatewayError {
  return new GatewayError(`Enclave ${enclaveId} answered with another row than was sent`, {
    code: "master_key_changed",
    hint: "Nothing was stored. Restart the enclave and run gateway init.",
  });
}

/** The stored row. @throws {GatewayError} `master_key_missing` */
export function requireStored(store: MasterKeyStore, enclaveId: number): StoredMasterKey {
  const row = store.get(enclaveId);
  if (row !== undefined) return row;
  throw new GatewayError(`There is no master key of enclave ${enclaveId} in ${store.file}`, {
    code: "master_key_missing",
    hint: "Make it: gateway init.",
  });
}

/**
 * Moves a master key under another KMS key. The stored row is opened first, so that what is moved is what is stored.
 *
 * @param newKeyId ARN, or in development an id or alias; one that the enclave allows
 * @throws {GatewayError | StoreError | ServiceError}; the stored row then still opens.
 */
export async function rewrapMasterKey(
  { store, enclave }: GatewayTools,
  enclaveId: number,
  newKeyId: string,
): Promise<EnclaveKey> {
  const old = requireStored(store, enclaveId);
  await enclave.init({ row: old });
  const fresh = await enclave.rewrap(newKeyId);
  const { row } = fresh;
  const isSame = row.publicKey.every((byte, index) => byte === old.publicKey[index]);
  if (!isSame || row.keyEpoch <= old.keyEpoch) throw otherKey(old);
  // It opens, before it takes the old one's place.
  await enclave.verify(row);
  store.replace(old, row, fresh.boot);
  return fresh;
}

/**
 * Signs a digest with the stored key of an enclave.
 *
 * @throws {GatewayError} when the signature is not by that key
 * @throws {ServiceError} `not_configured` when the enclave was restarted: run `init`
 */
export async function signWithMasterKey(
  { store, enclave }: GatewayTools,
  enclaveId: number,
  { digest, scheme }: { readonly digest: Uint8Array; readonly scheme: Scheme },
): Promise<MasterKeySignature> {
  return await enclave.sign(requireStored(store, enclaveId).publicKey, digest, scheme);
}

/**
 * Opens the stored row, and those that were replaced and are kept, and has the key sign both ways where the enclave holds it.
 *
 * @returns what was seen, for a person
 * @throws {GatewayError | StoreError | ServiceError} at the first thing that is not as it should be.
 */
export async function verifyMasterKey({ store, enclave }: GatewayTools, enclaveId: number): Promise<string> {
  const row = requireStored(store, enclaveId);
  await enclave.verify(row);
  const history = store.history(enclaveId);
  for (const { row: old } of history) await enclave.verify(old);
  const kept = history.length === 0
    ? ""
    : `, ${history.length} replaced row${history.length === 1 ? "" : "s"} too`;
  const digest = crypto.getRandomValues(new Uint8Array(PROOF_LENGTH));
  try {
    for (const scheme of ["ecdsa", "schnorr"] as const) await enclave.sign(row.publicKey, digest, scheme);
  } catch (thrown) {
    if (thrown instanceof ServiceError && thrown.code === "not_configured") {
      return `opens${kept}; the enclave holds no key now (gateway init)`;
    }
    throw thrown;
  }
  return `opens${kept}; signs ECDSA and Schnorr`;
}
