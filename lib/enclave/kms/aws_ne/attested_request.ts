/**
 * How a warm client calls KMS: this module writes the request, with the Recipient that makes it attested; the SDK signs it, sends it over its
 * connection and opens the envelope of the response. This replaces the SDK's own `…_blocking` functions, because:
 *
 * - a request on a closed connection never returns, so the connection is checked first;
 * - an answer without a well-formed `CiphertextForRecipient` crashes them, so the field is checked first;
 * - they drop KMS's error name and message, which this module reads from the response;
 * - their GenerateDataKey cannot carry an EncryptionContext.
 *
 * The SDK can still miss a response and block for ever: the process must then be killed from outside.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { sdkError } from "../../../../ffi/errors.ts";
import type { ClientInternals } from "../../../../ffi/sdk.ts";
import { MAX_CIPHERTEXT_LENGTH } from "../../../shared/aws/kms_limits.ts";
import { type KmsReason, parseKmsReason } from "../../../shared/aws/kms_reasons.ts";
import { asBytes } from "../../../shared/bytes.ts";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { bytesField } from "../../../shared/json.ts";
import {
  algorithmOf,
  callError,
  type Connection,
  type KmsCall,
  type KmsCallResult,
  OPERATIONS,
} from "./calls.ts";

/** The function that makes a request. */
export const REQUEST_SYMBOL = "aws_nitro_enclaves_rest_client_request_blocking";

/** All envelopes of KMS are smaller: 1,024 random bytes take less than 2 KiB. */
const MAX_ENVELOPE_LENGTH = 16 * 1024;

/** OBJECT IDENTIFIER 1.2.840.113549.1.7.3, pkcs7-envelopedData, as DER. */
const ENVELOPED_DATA = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];

/** A client whose internals are known. */
export type AttestedConnection = Connection & { readonly internals: ClientInternals };

/** Whether attested requests can be made on a client. */
export function isAttestable(connection: Connection): connection is AttestedConnection {
  return !("unknown" in connection.internals);
}

/** The members of a request to KMS's JSON API, without the Recipient. JSON leaves undefined ones out. */
export function requestBody(call: KmsCall): Record<string, unknown> {
  switch (call.kind) {
    case "decrypt":
      return {
        CiphertextBlob: encodeBase64(call.ciphertext),
        KeyId: call.keyId,
        EncryptionAlgorithm: algorithmOf(call),
        EncryptionContext: call.context,
      };
    case "generateDataKey":
      return { KeyId: call.keyId, KeySpec: call.keySpec, EncryptionContext: call.context };
    case "generateRandom":
      return { NumberOfBytes: call.length };
    default:
      return call satisfies never;
  }
}

/**
 * Makes one attested request.
 *
 * @returns the response; undefined when it is not JSON
 * @throws {SdkError} of the call's kind, as lost, when the connection is closed, or there was no answer.
 * @throws {SdkGenericError} when the NSM gave no attestation document.
 */
function request({ library, internals }: AttestedConnection, call: KmsCall): unknown {
  const lost = () =>
    callError(call, undefined, { symbol: REQUEST_SYMBOL, sdk: library.lastError(), isLost: true });
  const document = library.attestationDocument(internals);
  if (document === undefined) {
    throw library.failure("sdk_generic", "Cannot get an attestation document from the NSM", {
      symbol: "aws_attestation_request",
      hint: "This works inside a Nitro Enclave only (/dev/nsm). Elsewhere use the dry run.",
    });
  }
  const body = JSON.stringify({
    ...requestBody(call),
    Recipient: { AttestationDocument: encodeBase64(document), KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256" },
  });
  // Checked as late as possible, since the NSM is slow to make the document.
  if (!library.isConnectionOpen(internals)) throw lost();
  const answer = library.request(internals, `TrentService.${OPERATIONS[call.kind].name}`, body);
  if (answer === undefined) throw lost();
  try {
    return JSON.parse(new TextDecoder().decode(answer));
  } catch {
    return undefined;
  }
}

/** Whether bytes begin as a CMS EnvelopedData does: SEQUENCE, a length of any form, and the content type. */
export function isEnvelopedData(bytes: Uint8Array): boolean {
  const [tag, length] = bytes;
  if (tag !== 0x30 || length === undefined) return false;
  // 0x80 is the indefinite form; a larger value gives the number of length octets.
  const start = 2 + (length > 0x80 ? length & 0x7f : 0);
  return ENVELOPED_DATA.every((byte, index) => bytes[start + index] === byte);
}

/**
 * Makes a call with one attested request.
 *
 * @throws {SdkError} of the call's kind, with KMS's error where KMS refused; as lost when the connection is
 * closed, or there was no answer.
 * @throws {SdkGenericError} when the NSM fails or the envelope is invalid.
 */
export function runAttested(connection: AttestedConnection, call: KmsCall): KmsCallResult {
  const answer = request(connection, call);
  const envelope = asBytes(bytesField(answer, "CiphertextForRecipient"), 1, MAX_ENVELOPE_LENGTH);
  const ciphertext = asBytes(bytesField(answer, "CiphertextBlob"), 1, MAX_CIPHERTEXT_LENGTH);
  const isComplete = call.kind !== "generateDataKey" || ciphertext !== undefined;
  if (envelope === undefined || !isEnvelopedData(envelope) || !isComplete) {
    const reason = parseKmsReason(answer);
    if (reason !== undefined) throw callError(call, reason, { symbol: REQUEST_SYMBOL });
    const what = isComplete ? "an envelope for this enclave" : "a wrapped key";
    throw sdkError("sdk_generic", `KMS ${OPERATIONS[call.kind].name} answered without ${what}`, {
      symbol: REQUEST_SYMBOL,
      hint:
        "KMS leaves CiphertextForRecipient out when it takes the request for one without a Recipient: check that the " +
        "vsock-proxy leads to KMS itself. The call can be repeated.",
    });
  }
  const plaintext = new SecretBytes(connection.library.openEnvelope(connection.internals, envelope));
  return call.kind === "generateDataKey" && ciphertext ? { plaintext, ciphertext } : { plaintext };
}

/**
 * Finds out why KMS refused a call of a `…_blocking` function, by making the same request again.
 *
 * @throws {SdkError} as {@link runAttested}
 */
export function askForReason(connection: AttestedConnection, call: KmsCall): KmsReason | undefined {
  return parseKmsReason(request(connection, call));
}
