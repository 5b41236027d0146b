/**
 * Whether an account's key was made in an enclave: its row's attestation documents, verified.
 *
 * @module
 */
import { decodeBase64, decodeHex, encodeHex } from "@std/encoding";
import { AttestationError } from "../../shared/attestation/errors.ts";
import { buildsOf } from "../../shared/attestation/expectation.ts";
import { equalBytes } from "../../shared/bytes.ts";
import { field } from "../../shared/json.ts";
import { documentHash, type OriginExpectation, verifyGenerated, verifyKeyDocument } from "./key_origin.ts";
import { type AccountRow, type Statement, StoreError } from "../stores/account_store.ts";

/** A row, however it was stored. */
type StoredAccount = Omit<AccountRow, "created">;

/** What the first document says of the enclave. */
export interface VerifiedAccount {
  /** Of the enclave. */
  readonly moduleId: string;
  /** When the document was made. ISO 8601. */
  readonly at: string;
  /** When the key was made. ISO 8601. */
  readonly generatedAt: string;
  /** PCR0, 1, 2 and those that were expected, as `PCR0`. */
  readonly pcrs: Readonly<Record<string, string>>;
  /** Hash of the enclave's measured configuration, hex. */
  readonly configuration: string;
}

/**
 * The documents about an account, oldest first: one for each KMS key that it has had. @throws {StoreError}
 * `store_row_damaged`
 */
export function statementsOf(
  { name, history = "[]", keyId, attestation, nonce }: StoredAccount,
): Statement[] {
  const own = attestation === undefined || nonce === undefined ? [] : [{ keyId, attestation, nonce }];
  try {
    const kept: unknown = JSON.parse(history);
    if (Array.isArray(kept) && kept.every(isStatement)) return [...kept, ...own];
  } catch {
    // Reported below.
  }
  throw damaged(`The row of account ${JSON.stringify(name)} has a history that cannot be read`);
}

function isStatement(value: unknown): value is Statement {
  return ["keyId", "attestation", "nonce"].every((name) => typeof field(value, name) === "string");
}

function damaged(message: string, hint = "Restore the row from a backup."): StoreError {
  return new StoreError(message, { code: "store_row_damaged", hint });
}

/**
 * Verifies the attestation documents of an account: address, name, KMS key, nonce, PCRs, and that the key was
 * made where the first document is from. Each document of a move to another KMS key must name the one before.
 *
 * @param expected.at now, for a document that was just made; by default each document's own time: it proves
 * the origin, and is not fresh
 * @throws {AttestationError} whose code says which check failed.
 * @throws {StoreError} `store_row_damaged` when the row has no document.
 * @throws {TypeError} when the PCRs identify no enclave.
 */
export async function verifyAccount(
  row: Omit<AccountRow, "created">,
  expected: OriginExpectation & { readonly at?: Date | "made" },
): Promise<VerifiedAccount> {
  if (row.attestation === undefined || row.nonce === undefined) {
    throw damaged(
      `Account ${JSON.stringify(row.name)} has no attestation document`,
      "It was created or moved without an NSM, or by an earlier version: its origin cannot be proven.",
    );
  }
  const { at = "made", ...trusted } = expected;
  const publicPart = decodeHex(row.address.replace(/^0x/, ""));
  const about = { purpose: "wallet", subject: row.name, publicPart, epoch: 0 } as const;
  const [first, ...moves] = statementsOf(row).map(({ keyId, attestation, nonce }) => ({
    subject: { ...about, keyArn: keyId },
    document: decodeBase64(attestation),
    nonce: decodeBase64(nonce),
  }));
  if (first === undefined) throw new TypeError("Cannot verify without a document");
  const timeOf = (isLast: boolean) => ({ ...trusted, at: isLast ? at : "made" } as const);
  const found = await verifyGenerated(first, first.subject, timeOf(moves.length === 0));
  let before = first;
  for (const [index, move] of moves.entries()) {
    const { previous } = await verifyKeyDocument(move, move.subject, timeOf(index === moves.length - 1));
    if (previous === undefined || !equalBytes(previous, await documentHash(before))) {
      throw new AttestationError("attestation_user_data", "it does not name the document before it");
    }
    before = move;
  }
  const shown = [
    ...new Set([0, 1, 2, ...buildsOf(expected.pcrs).flatMap((build) => Object.keys(build).map(Number))]),
  ];
  return {
    moduleId: found.moduleId,
    at: found.at.toISOString(),
    generatedAt: found.generatedAt.toISOString(),
    pcrs: Object.fromEntries(shown.map((index) => [`PCR${index}`, found.pcrs.get(index) ?? "-"])),
    configuration: encodeHex(found.configuration),
  };
}
