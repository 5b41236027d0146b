/**
 * Whether an account's key was made in an enclave: its row's attestation document, verified.
 *
 * @module
 */
import { decodeBase64, encodeHex } from "@std/encoding";
import { buildsOf } from "../../shared/attestation/expectation.ts";
import { parseAddress } from "../../shared/crypto/ethereum_address.ts";
import { type OriginExpectation, verifyGenerated } from "./key_origin.ts";
import { type AccountRow, StoreError } from "../stores/account_store.ts";

/** What the document says of the enclave. */
interface VerifiedAccount {
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
 * Verifies the attestation document of an account: address, name, KMS key, nonce, PCRs, and that the key was made where the document is from.
 *
 * @param expected.at now, for an account that was just made; by default the document's own time: it proves the origin, and is not fresh
 * @throws {AttestationError} whose code says which check failed.
 * @throws {StoreError} `store_row_damaged` when the row has no document.
 * @throws {TypeError} when the PCRs identify no enclave.
 */
export async function verifyAccount(
  row: AccountRow,
  expected: OriginExpectation & { readonly at?: Date | "made" },
): Promise<VerifiedAccount> {
  if (row.attestation === undefined || row.nonce === undefined) {
    throw new StoreError(`Account ${JSON.stringify(row.name)} has no attestation document`, {
      code: "store_row_damaged",
      hint: "The account was created without an NSM, or by an earlier version: its origin cannot be proven.",
    });
  }
  const signed = { document: decodeBase64(row.attestation), nonce: decodeBase64(row.nonce) };
  const found = await verifyGenerated(signed, {
    purpose: "wallet",
    subject: row.name,
    publicPart: parseAddress(row.address, "address").bytes,
    keyArn: row.keyId,
    epoch: 0,
  }, { at: "made", ...expected });
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
