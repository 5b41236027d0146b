/**
 * Whether an account's address was made in an enclave: its row's attestation document, verified. A parent that can call KMS Encrypt could
 * make up a row with a key of its own; it cannot make up this.
 *
 * @module
 */
import { decodeBase64, encodeHex } from "@std/encoding";
import { verifyDocument } from "../attestation/document.ts";
import { AttestationError } from "../attestation/errors.ts";
import { asBytes, decodeStrict } from "../attestation/cbor.ts";
import { keyUserData } from "../attestation/statement.ts";
import type { AttestationDocument } from "../attestation/payload.ts";
import { buildsOf, expectationProblem, type ExpectedPcrs } from "../attestation/expectation.ts";
import type { TrustedAttestation } from "../attestation/document.ts";
import { parseAddress } from "../crypto/ethereum/address.ts";
import { type AccountRow, StoreError } from "./stores/account_store.ts";

/** Verifies a document: under AWS's root, or under another in tests and dry runs. */
export type DocumentVerifier = (
  document: Uint8Array,
  expected: TrustedAttestation,
) => Promise<AttestationDocument>;

/** What is expected of the enclave that made the account. */
export interface VerifyAccountOptions {
  /** Hex, by index: PCR0 or PCR8 at least. Of several builds, one must match. */
  readonly pcrs: ExpectedPcrs | readonly ExpectedPcrs[];
  /** Takes the document of any enclave, an attacker's too: for development. */
  readonly insecureSkipPcrs?: boolean;
  readonly allowDebug?: boolean;
  readonly verify?: DocumentVerifier;
}

/** What the document says of the enclave. */
export interface VerifiedAccount {
  readonly moduleId: string;
  /** ISO 8601. */
  readonly at: string;
  /** PCR0, 1, 2 and those that were expected, as `PCR0`. */
  readonly pcrs: Readonly<Record<string, string>>;
  /** Hash of the enclave's measured configuration, hex. */
  readonly configuration: string;
}

const USER_DATA_LIMITS = { maxBytes: 512, maxDepth: 2 } as const;

function configurationOf({ userData }: AttestationDocument): Uint8Array<ArrayBuffer> {
  let map: unknown;
  try {
    map = userData === undefined ? undefined : decodeStrict(userData, USER_DATA_LIMITS);
  } catch (thrown) {
    throw new AttestationError("attestation_user_data", "what it says of a key cannot be read", thrown);
  }
  const config = map instanceof Map ? asBytes(map.get("config"), 32, 32) : undefined;
  if (config !== undefined) return config;
  throw new AttestationError("attestation_user_data", "it says nothing of a key");
}

/**
 * Verifies the attestation document of an account, as of the time when it was made: address, name, KMS key, nonce, PCRs.
 *
 * @throws {AttestationError} whose code says which check failed.
 * @throws {StoreError} `store_row_damaged` when the row has no document.
 * @throws {TypeError} when the PCRs identify no enclave.
 */
export async function verifyAccount(
  row: AccountRow,
  { pcrs, insecureSkipPcrs = false, allowDebug = false, verify = verifyDocument }: VerifyAccountOptions,
): Promise<VerifiedAccount> {
  const problem = expectationProblem(pcrs);
  if (problem !== undefined && !insecureSkipPcrs) throw new TypeError(`Cannot verify an account: ${problem}`);
  if (row.attestation === undefined || row.nonce === undefined) {
    throw new StoreError(`Account ${JSON.stringify(row.name)} has no attestation document`, {
      code: "store_row_damaged",
      hint: "It was made without --attest: nothing says that its address is the enclave's.",
    });
  }
  const document = decodeBase64(row.attestation);
  const expected = {
    nonce: decodeBase64(row.nonce),
    pcrs,
    insecureSkipPcrs,
    allowDebug,
    at: "made",
  } as const;
  const found = await verify(document, expected);
  const config = configurationOf(found);
  const userData = await keyUserData({
    purpose: "wallet",
    subject: row.name,
    publicPart: parseAddress(row.address, "address").bytes,
    keyArn: row.keyId,
    epoch: 0,
  }, config);
  await verify(document, { ...expected, userData });
  const shown = [...new Set([0, 1, 2, ...buildsOf(pcrs).flatMap((build) => Object.keys(build).map(Number))])];
  return {
    moduleId: found.moduleId,
    at: found.timestamp.toISOString(),
    pcrs: Object.fromEntries(shown.map((index) => [`PCR${index}`, found.pcrs.get(index) ?? "-"])),
    configuration: encodeHex(config),
  };
}
