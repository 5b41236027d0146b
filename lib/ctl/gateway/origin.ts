/**
 * The origin of a master key: requests documents with a new nonce, verifies and stores them; verifies stored documents again as of their own
 * time, which proves the origin but not that the enclave is still running.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { AttestationError } from "../../shared/attestation/errors.ts";
import { ServiceError } from "../client/client.ts";
import {
  type AttestedKey,
  type AttestedSubject,
  documentHash,
  type OriginExpectation,
  type SignedStatement,
  verifyGenerated,
  verifyKeyDocument,
} from "../client/key_origin.ts";
import type { EnclaveKey } from "./enclave.ts";
import { GatewayError } from "./errors.ts";
import type { MasterKeyStore, StoredEpoch, StoredMasterKey } from "./master_key_store.ts";

/** Requirements for a key's origin. */
export interface OriginPolicy {
  /** Undefined when no build is named that may have made the key: then no origin can be shown. */
  readonly expected: OriginExpectation | undefined;
  /** Whether a key without a proven origin is accepted. */
  readonly acceptUnproven: boolean;
}

/** What is known of a key's origin. */
export type Origin =
  | {
    readonly proven: true;
    readonly generatedAt: Date;
    /** When the document was made. */
    readonly at: Date;
    readonly moduleId: string;
    /** Of the build that made the key, hex. */
    readonly pcr0: string;
  }
  | { readonly proven: false; readonly why: string };

const NONCE_LENGTH = 32;

function subjectOf(
  { enclaveId, publicKey, kmsKeyId, keyEpoch }: Omit<StoredEpoch, "signed">,
): AttestedSubject {
  return {
    purpose: "master",
    subject: String(enclaveId),
    publicPart: publicKey,
    keyArn: kmsKeyId,
    epoch: keyEpoch,
  };
}

/** The error of a key whose origin cannot be shown. */
function unproven(enclaveId: number, why: string): GatewayError {
  return new GatewayError(`Cannot show where the master key of enclave ${enclaveId} comes from: ${why}`, {
    code: "origin_unproven",
    hint:
      "Somebody outside the enclave may know the key. Name the build that made it (-m, --pcr), old builds included; in development, without an NSM, accept it " +
      `by name: --accept-unproven-origin ${enclaveId}.`,
  });
}

const NO_BUILD = "no build is named to verify its attestation document against";

/** Epochs of the row's key. */
function epochsOf(store: MasterKeyStore, { enclaveId, publicKey }: StoredMasterKey): readonly StoredEpoch[] {
  const wanted = encodeHex(publicKey);
  return store.epochs(enclaveId).filter((epoch) => encodeHex(epoch.publicKey) === wanted);
}

/** The document of a row, or else the last one of its key, if one is stored. */
export function documentOf(store: MasterKeyStore, row: StoredMasterKey): SignedStatement | undefined {
  const attested = epochsOf(store, row).filter(({ signed }) => signed !== undefined);
  const own = attested.findLast(({ keyEpoch, kmsKeyId }) =>
    keyEpoch === row.keyEpoch && kmsKeyId === row.kmsKeyId
  );
  return (own ?? attested.at(-1))?.signed;
}

/** What the stored documents prove of a stored key. One of them must say that the key was generated: a rewrapped key is the same key. */
export async function findOrigin(
  { store, origin: { expected } }: { readonly store: MasterKeyStore; readonly origin: OriginPolicy },
  row: StoredMasterKey,
): Promise<Origin> {
  let why = "no attestation document of it is stored";
  for (const { signed, ...epoch } of epochsOf(store, row)) {
    if (signed === undefined) continue;
    if (expected === undefined) return { proven: false, why: NO_BUILD };
    try {
      const found = await verifyGenerated(signed, subjectOf(epoch), { ...expected, at: "made" });
      return { proven: true, ...found, pcr0: found.pcrs.get(0) ?? "-" };
    } catch (thrown) {
      if (!(thrown instanceof AttestationError)) throw thrown;
      why = `epoch ${epoch.keyEpoch}: ${thrown.message}`;
    }
  }
  return { proven: false, why };
}

/** As {@link findOrigin}. @throws {GatewayError} `origin_unproven` when it is not proven, and that is not accepted */
export async function requireOrigin(
  tools: { readonly store: MasterKeyStore; readonly origin: OriginPolicy },
  row: StoredMasterKey,
): Promise<Origin> {
  const origin = await findOrigin(tools, row);
  if (origin.proven || tools.origin.acceptUnproven) return origin;
  throw unproven(row.enclaveId, origin.why);
}

/**
 * Verifies all stored documents of a key, and that each names the one before it.
 *
 * @throws {GatewayError} `origin_unproven`
 */
export async function requireHistory(
  { store, origin: { expected, acceptUnproven } }: {
    readonly store: MasterKeyStore;
    readonly origin: OriginPolicy;
  },
  row: StoredMasterKey,
): Promise<void> {
  if (acceptUnproven || expected === undefined) return;
  const before = new Set<string>();
  for (const { signed, ...epoch } of epochsOf(store, row)) {
    if (signed === undefined) continue;
    try {
      const { previous } = await verifyKeyDocument(signed, subjectOf(epoch), { ...expected, at: "made" });
      const named = previous === undefined ? undefined : encodeHex(previous);
      if (before.size > 0 && (named === undefined || !before.has(named))) {
        throw new AttestationError("attestation_user_data", "it does not name the document before it");
      }
    } catch (thrown) {
      if (!(thrown instanceof AttestationError)) throw thrown;
      throw unproven(row.enclaveId, `epoch ${epoch.keyEpoch}: ${thrown.message}`);
    }
    before.add(encodeHex(await documentHash(signed)));
  }
}

/** A key as the enclave gave it, and its document. */
interface AttestedReply {
  readonly key: EnclaveKey;
  /** Undefined where there is no NSM, and that is accepted. */
  readonly signed: SignedStatement | undefined;
}

/**
 * Asks the enclave for a row with an attestation document, and verifies that live.
 *
 * @param ask is called with a new nonce; without one where there is no NSM and that is accepted
 * @param refuse returns why a verified document is not accepted
 * @throws {GatewayError} `origin_unproven`
 */
export async function askAttested(
  { expected, acceptUnproven }: OriginPolicy,
  enclaveId: number,
  { ask, refuse = () => undefined }: {
    readonly ask: (nonce: Uint8Array | undefined) => Promise<EnclaveKey>;
    readonly refuse?: (attested: AttestedKey) => string | undefined;
  },
): Promise<AttestedReply> {
  // Check this before making a key that would be refused.
  if (expected === undefined && !acceptUnproven) throw unproven(enclaveId, NO_BUILD);
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
  let key: EnclaveKey;
  try {
    key = await ask(nonce);
  } catch (thrown) {
    if (!(thrown instanceof ServiceError) || thrown.code !== "attestation_unavailable") throw thrown;
    if (!acceptUnproven) throw unproven(enclaveId, "the service has no NSM to attest to it");
    return { key: await ask(undefined), signed: undefined };
  }
  const { document, row } = key;
  if (document === undefined) {
    if (acceptUnproven) return { key, signed: undefined };
    throw unproven(enclaveId, "the reply has no attestation document");
  }
  const signed = { document, nonce };
  if (expected === undefined) return { key, signed };
  try {
    const attested = await verifyKeyDocument(signed, subjectOf(row), { ...expected, at: new Date() });
    const why = refuse(attested);
    if (why !== undefined && !acceptUnproven) throw unproven(enclaveId, why);
  } catch (thrown) {
    if (!(thrown instanceof AttestationError)) throw thrown;
    if (!acceptUnproven) throw unproven(enclaveId, thrown.message);
  }
  return { key, signed };
}

/** For a person. */
export function originWords(origin: Origin): string {
  if (!origin.proven) return `origin NOT proven: ${origin.why}`;
  const { generatedAt, moduleId, pcr0, at } = origin;
  return `generated ${generatedAt.toISOString()} in ${moduleId} by the build with PCR0 ${
    pcr0.slice(0, 16)
  }… (document of ${at.toISOString()}, not fresh)`;
}
