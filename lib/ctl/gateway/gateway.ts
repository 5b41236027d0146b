/**
 * The gateway: stores the enclaves' master keys in the database. A new key is stored before it is reported; a replaced row
 * is kept until the new one has been opened and has signed after a restart of the enclave.
 *
 * If a gateway crashes before the first row is stored, the enclave returns the same key to the next request. If it crashes after a rewrap, the enclave is
 * one epoch ahead of its row, and the next gateway stores the new row. After a restart of the enclave the old row still opens.
 *
 * A key is accepted when it is proven that an accepted build made it, or when the operator names its enclave explicitly.
 *
 * @module
 */
import { equalBytes } from "../../shared/bytes.ts";
import { ServiceError } from "../client/client.ts";
import { documentHash } from "../client/key_origin.ts";
import type { EnclaveKey, EnclaveMasterKey, HeldMasterKey, MasterKeySignature, Scheme } from "./enclave.ts";
import { GatewayError } from "./errors.ts";
import { isSameRow, type MasterKeyStore, type StoredMasterKey } from "./master_key_store.ts";
import {
  askAttested,
  documentOf,
  findOrigin,
  type Origin,
  type OriginPolicy,
  requireHistory,
  requireOrigin,
} from "./origin.ts";

/** What the gateway works with. Borrowed. */
export interface GatewayTools {
  readonly store: MasterKeyStore;
  readonly enclave: EnclaveMasterKey;
  readonly origin: OriginPolicy;
}

/** How an `init` went. */
interface InitOutcome {
  readonly row: StoredMasterKey;
  /** Made now, opened from its row, or held already by an enclave whose row had not been stored. */
  readonly how: "generated" | "opened" | "recovered";
  /** Rows that are kept still. */
  readonly kept: number;
  readonly origin: Origin;
}

/** What an `init` is told. */
interface InitOptions {
  /** For a new key: an ARN, or in development an id or alias. A stored key is opened under its own. */
  readonly keyId?: string | undefined;
  /** Whether to make a key if none is stored. Otherwise a missing database would lead to a second key. */
  readonly allowNew?: boolean;
}

const PROOF_LENGTH = 32;

/** Signs with the key, and deletes rows that were replaced before the enclave's restart. */
async function prove({ store, enclave }: GatewayTools, row: StoredMasterKey): Promise<number> {
  const digest = crypto.getRandomValues(new Uint8Array(PROOF_LENGTH));
  const { boot } = await enclave.sign(row.publicKey, digest, "ecdsa");
  store.prove(row, boot);
  return store.history(row.enclaveId).length;
}

/**
 * Sends the stored key to the enclave. If none is stored and the options allow a new one, has one made and stores it.
 *
 * @throws {GatewayError | StoreError | ServiceError}; the database then is as it was.
 */
export async function initMasterKey(
  tools: GatewayTools,
  enclaveId: number,
  { keyId, allowNew = false }: InitOptions = {},
): Promise<InitOutcome> {
  const { store, enclave } = tools;
  const stored = store.get(enclaveId);
  if (stored !== undefined) {
    const origin = await requireOrigin(tools, stored);
    const { row } = await catchUp(tools, stored);
    const opened = await enclave.init({ row });
    if (!isSameRow(opened.row, row)) throw otherKey(stored);
    return { row, how: row === stored ? "opened" : "recovered", kept: await prove(tools, row), origin };
  }
  if (!allowNew) requireStored(store, enclaveId);
  const { key: made, signed } = await askAttested(tools.origin, enclaveId, {
    ask: (nonce) => enclave.init({ keyId, nonce }),
    refuse: ({ from }) =>
      from.origin === "generated"
        ? undefined
        : "the enclave did not make it but opened it from a row. Restart the enclave, then try again",
  });
  store.insert(made.row, signed);
  const kept = await prove(tools, made.row);
  const origin = await requireOrigin(tools, made.row);
  return { row: made.row, how: made.newlyGenerated ? "generated" : "recovered", kept, origin };
}

/** Stores the row of an enclave that is ahead of the database, after a gateway crashed during a rewrap. */
async function catchUp(
  { store, enclave, origin }: GatewayTools,
  stored: StoredMasterKey,
): Promise<{ readonly row: StoredMasterKey; readonly isHeld: boolean }> {
  const held = await enclave.held();
  const isSame = held !== undefined && equalBytes(held.publicKey, stored.publicKey);
  if (!isSame || held.keyEpoch <= stored.keyEpoch) {
    return { row: stored, isHeld: isSame && held.keyEpoch === stored.keyEpoch };
  }
  const { key: { row, boot }, signed } = await askAttested(origin, stored.enclaveId, {
    ask: (nonce) => enclave.init({ keyId: held.kmsKeyId, nonce }),
  });
  if (!equalBytes(row.publicKey, stored.publicKey) || row.keyEpoch !== held.keyEpoch) throw otherKey(stored);
  await enclave.verify(row);
  store.replace(stored, row, boot, signed);
  return { row, isHeld: true };
}

function otherKey({ enclaveId }: StoredMasterKey): GatewayError {
  return new GatewayError(`Enclave ${enclaveId} answered with a different row than the one sent`, {
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
    hint:
      "If this is the first time: gateway init --new. Otherwise this is not the database that holds the key, and --new would create a second one.",
  });
}

/**
 * Moves a master key under another KMS key. An enclave that holds no key, or another row's, is given the stored row first; one that holds the
 * stored key need not open it again, so that a key can be moved whose old KMS key is disabled already.
 *
 * @param newKeyId ARN, or in development an id or alias; one that the enclave allows
 * @throws {GatewayError | StoreError | ServiceError}; the stored row then still opens.
 */
export async function rewrapMasterKey(
  tools: GatewayTools,
  enclaveId: number,
  newKeyId: string,
): Promise<EnclaveKey> {
  const { store, enclave, origin } = tools;
  const stored = requireStored(store, enclaveId);
  await requireOrigin(tools, stored);
  const { row: old, isHeld } = await catchUp(tools, stored);
  if (!isHeld) await enclave.init({ row: old });
  // Verify that the enclave really holds the key.
  await enclave.sign(old.publicKey, crypto.getRandomValues(new Uint8Array(PROOF_LENGTH)), "ecdsa");
  const document = documentOf(store, old);
  const previous = document === undefined ? undefined : await documentHash(document);
  const { key: fresh, signed } = await askAttested(origin, enclaveId, {
    ask: (nonce) => enclave.rewrap(newKeyId, { keyEpoch: old.keyEpoch, nonce, previous }),
    refuse: (attested) =>
      previous === undefined || equalBytes(previous, attested.previous ?? new Uint8Array())
        ? undefined
        : "its document does not name the one before it",
  });
  const { row } = fresh;
  if (!equalBytes(row.publicKey, old.publicKey) || row.keyEpoch <= old.keyEpoch) throw otherKey(old);
  // Check that it opens before it replaces the old row.
  await enclave.verify(row);
  store.replace(old, row, fresh.boot, signed);
  return fresh;
}

/**
 * Goes back to the newest replaced row that still opens, for a key that was moved to an unusable KMS key. The current row is kept in
 * the history.
 *
 * @throws {GatewayError} `restore_failed` when no replaced row opens; `origin_unproven`
 */
export async function restoreMasterKey(tools: GatewayTools, enclaveId: number): Promise<StoredMasterKey> {
  const { store, enclave } = tools;
  const present = requireStored(store, enclaveId);
  await requireOrigin(tools, present);
  const reasons: string[] = [];
  for (const { row } of store.history(enclaveId).toReversed()) {
    if (!equalBytes(row.publicKey, present.publicKey)) continue;
    try {
      await enclave.verify(row);
    } catch (thrown) {
      if (!(thrown instanceof ServiceError)) throw thrown;
      reasons.push(`epoch ${row.keyEpoch}: ${thrown.message}`);
      continue;
    }
    const { boot } = await enclave.init({ row });
    store.restore(row, boot);
    return row;
  }
  throw new GatewayError(
    `No kept row of enclave ${enclaveId} opens${
      reasons.length === 0 ? ": none is kept" : `: ${reasons.join("; ")}`
    }`,
    {
      code: "restore_failed",
      hint: "See which KMS keys this enclave allows, and their policies: denclavectl policy lint -k <arn>.",
    },
  );
}

/** The stored key compared with the key that the enclave holds. */
interface MasterKeyStatus {
  readonly stored: StoredMasterKey | undefined;
  readonly held: HeldMasterKey | undefined;
  /** Rows that are kept. */
  readonly kept: number;
  /** Whether the enclave holds the stored key, and its origin is proven or accepted. */
  readonly ok: boolean;
  /** Undefined when no key is stored. */
  readonly origin: Origin | undefined;
  /** For a person. */
  readonly words: string;
}

/** Compares them. Changes nothing and does not call KMS. @throws {ServiceError} when the enclave holds another enclave's key */
export async function masterKeyStatus(
  tools: GatewayTools,
  enclaveId: number,
): Promise<MasterKeyStatus> {
  const { store, enclave } = tools;
  const stored = store.get(enclaveId);
  const held = await enclave.held();
  const kept = store.history(enclaveId).length;
  const isSame = stored !== undefined && held !== undefined && equalBytes(stored.publicKey, held.publicKey);
  const words = held === undefined
    ? "holds no key: gateway init"
    : stored === undefined
    ? "holds a key that is not stored: gateway init --new"
    : !isSame
    ? "holds ANOTHER KEY: restart it, then gateway init"
    : held.keyEpoch === stored.keyEpoch
    ? `holds it, epoch ${held.keyEpoch}`
    : `holds it as epoch ${held.keyEpoch}, whose row is not stored: gateway init`;
  const origin = stored === undefined ? undefined : await findOrigin(tools, stored);
  const isTaken = origin?.proven === true || tools.origin.acceptUnproven;
  return { stored, held, kept, ok: isSame && isTaken, origin, words };
}

/**
 * Signs a digest with the stored key of an enclave.
 *
 * @throws {GatewayError} `origin_unproven`, or when the signature is not by that key
 * @throws {ServiceError} `not_configured` when the enclave was restarted: run `init`
 */
export async function signWithMasterKey(
  tools: GatewayTools,
  enclaveId: number,
  { digest, scheme }: { readonly digest: Uint8Array; readonly scheme: Scheme },
): Promise<MasterKeySignature> {
  const row = requireStored(tools.store, enclaveId);
  await requireOrigin(tools, row);
  return await tools.enclave.sign(row.publicKey, digest, scheme);
}

/**
 * Verifies the stored attestation documents, opens the stored row, and those that were replaced and are kept, and has the key sign both ways where
 * the enclave holds it.
 *
 * @returns what was seen; the words are for a person
 * @throws {GatewayError | StoreError | ServiceError} at the first problem.
 */
export async function verifyMasterKey(
  tools: GatewayTools,
  enclaveId: number,
): Promise<{ readonly words: string; readonly origin: Origin }> {
  const { store, enclave } = tools;
  const row = requireStored(store, enclaveId);
  const origin = await requireOrigin(tools, row);
  await requireHistory(tools, row);
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
      return { words: `opens${kept}; the enclave holds no key now (gateway init)`, origin };
    }
    throw thrown;
  }
  return { words: `opens${kept}; signs ECDSA and Schnorr`, origin };
}
