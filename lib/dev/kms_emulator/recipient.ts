/**
 * The `Recipient` of a request: the attestation document is verified, and the response is encrypted to the key in it.
 *
 * @module
 */
import { AttestationError } from "../../shared/attestation/errors.ts";
import type { AttestationDocument } from "../../shared/attestation/payload.ts";
import { verifyDocumentUnder } from "../../shared/attestation/verify.ts";
import { KEY_ENCRYPTION_ALGORITHM } from "./enveloped_data.ts";
import { invalid } from "./errors.ts";
import { bytes, type Fields, optionalChoice, optionalObject } from "./fields.ts";

/** KMS accepts documents up to five minutes old. */
const MAX_AGE_MS = 5 * 60_000;
/** KMS's limit on `AttestationDocument`, bytes. */
const MAX_DOCUMENT_LENGTH = 262_144;

/** The receiver of the response: an enclave whose document was verified. */
export interface Recipient {
  readonly document: AttestationDocument;
  /** DER of its SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

/** What a document is verified with. */
interface RecipientOptions {
  /** DER of the certificate that its chain must begin with. */
  readonly root: Uint8Array;
  readonly now: Date;
}

/**
 * Parses and verifies it. Like KMS, it accepts a document of an enclave in debug mode: the policy must refuse its PCRs, which are zero.
 *
 * AWS does not document the error for a refused document; here it is `ValidationException`, with the check that failed.
 *
 * @returns undefined when the request has none
 * @throws {KmsRefusal} `ValidationException`
 */
export async function readRecipient(
  fields: Fields,
  { root, now }: RecipientOptions,
): Promise<Recipient | undefined> {
  const recipient = optionalObject(fields, "Recipient");
  if (recipient === undefined) return undefined;
  if (optionalChoice(recipient, "KeyEncryptionAlgorithm", [KEY_ENCRYPTION_ALGORITHM]) === undefined) {
    throw invalid("Recipient has no KeyEncryptionAlgorithm");
  }
  const bytesOfIt = bytes(recipient, "AttestationDocument", MAX_DOCUMENT_LENGTH);
  let document: AttestationDocument;
  try {
    document = await verifyDocumentUnder(root, bytesOfIt, {
      at: now,
      maxAgeMs: MAX_AGE_MS,
      allowDebug: true,
    });
  } catch (thrown) {
    if (thrown instanceof AttestationError) throw invalid(`${thrown.message} (${thrown.code})`, thrown);
    throw thrown;
  }
  if (document.publicKey === undefined) throw invalid("The attestation document has no public key");
  return { document, publicKey: document.publicKey };
}
