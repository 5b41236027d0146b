/**
 * Verifies the reply to `attest`: the document, and that it covers the key and the configuration hash beside it.
 *
 * @module
 */
import { type TrustedAttestation, verifyDocument } from "../../shared/attestation/document.ts";
import { AttestationError } from "../../shared/attestation/errors.ts";
import type { ExpectedPcrs } from "../../shared/attestation/expectation.ts";
import type { AttestationDocument } from "../../shared/attestation/payload.ts";
import { attestUserData } from "../../shared/attestation/statement.ts";
import { PUBLIC_KEY_LENGTH } from "../../shared/sealed/hpke.ts";
import { bytesField } from "../../shared/json.ts";
import type { WireObject } from "../../shared/wire/messages.ts";

/** Which enclave is trusted. */
export interface ExpectedReply {
  /** Hex of 96 digits by index: PCR0 or PCR8 at least. Of several builds, one must match. */
  readonly pcrs: ExpectedPcrs | readonly ExpectedPcrs[];
  /** What its measured configuration must hash to, 32 bytes; any will do, unless given. */
  readonly configurationHash?: Uint8Array;
  /** Whether to accept an enclave in debug mode, whose console the parent can read. Default false. */
  readonly allowDebug?: boolean;
  /** Accepts any enclave, including an attacker's: for development. */
  readonly insecureSkipPcrs?: boolean;
  /** Verifies documents: under AWS's root, unless a test or a dry run gives another. */
  readonly verify?: (document: Uint8Array, expected: TrustedAttestation) => Promise<AttestationDocument>;
}

/** What the enclave attested to. */
export interface Attested {
  /** The document's contents, verified. */
  readonly document: AttestationDocument;
  /** The document as it came. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The service's key, to seal for. 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** Of its measured configuration, 32 bytes. The document vouches for it. */
  readonly configurationHash: Uint8Array<ArrayBuffer>;
}

const HASH_LENGTH = 32;

function bytesOf(reply: WireObject, name: string, length?: number): Uint8Array<ArrayBuffer> {
  const bytes = bytesField(reply, name);
  if (bytes !== undefined && (length === undefined ? bytes.length > 0 : bytes.length === length)) {
    return bytes;
  }
  throw new AttestationError(
    "attestation_malformed",
    `the reply's ${name} is missing, or not what it should be`,
  );
}

/**
 * Verifies a reply.
 *
 * @param expected.nonce that of the request
 * @param expected.userData the bytes in the request's `user_data`
 * @throws {AttestationError} whose code says which check failed.
 */
export async function verifyAttestReply(
  reply: WireObject,
  expected: ExpectedReply & { readonly nonce: Uint8Array; readonly userData?: Uint8Array | undefined },
): Promise<Attested> {
  const { nonce, userData = new Uint8Array(0), pcrs, verify = verifyDocument } = expected;
  const bytes = bytesOf(reply, "attestation_document");
  const publicKey = bytesOf(reply, "public_key", PUBLIC_KEY_LENGTH);
  const said = bytesOf(reply, "configuration_hash", HASH_LENGTH);
  const configurationHash = new Uint8Array(expected.configurationHash ?? said);
  const document = await verify(bytes, {
    nonce,
    publicKey,
    pcrs,
    allowDebug: expected.allowDebug ?? false,
    insecureSkipPcrs: expected.insecureSkipPcrs ?? false,
    userData: await attestUserData(userData, configurationHash),
  });
  return { document, bytes, publicKey, configurationHash };
}
