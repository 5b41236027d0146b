/**
 * The Kms port over KMS's JSON API, for development: AWS's own KMS or one that speaks like it (LocalStack, moto), no attestation. It is not in the
 * graph of the production entry, and refuses to start where there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * A plaintext key comes in JSON, so as a string, which cannot be wiped: it is let go at once, and the bytes that it came in are wiped.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { MAX_CIPHERTEXT_LENGTH } from "../aws_ne/arguments.ts";
import { checkCall } from "../aws_ne/calls.ts";
import { SecretBytes } from "../crypto/secret_bytes.ts";
import { type KmsAnswer, KmsApi, type KmsApiOptions, unbelievable } from "./aws/api.ts";
import type { KmsOperation } from "./aws/sign.ts";
import type { DataKey, DataKeyRequest, DecryptRequest, Kms, KmsAccess, KmsHealth } from "./kms.ts";
import { refuseInEnclave } from "./outside_enclave.ts";

export { AwsKmsError, type AwsKmsErrorCode } from "./aws/errors.ts";

/** KMS's limit on what Encrypt takes, and so on what Decrypt gives, bytes. */
const MAX_PLAINTEXT_LENGTH = 4096;

/** Options of {@link AwsKms.open}. */
export interface AwsKmsOptions extends KmsApiOptions {
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

/** KMS over plain HTTPS. A key may be named by ARN, id or alias. */
export class AwsKms implements Kms {
  readonly attested = false;
  #api: KmsApi;

  private constructor(api: KmsApi) {
    this.#api = api;
  }

  /**
   * Opens it. Nothing is sent: the credentials come with each call.
   *
   * @throws {EnclaveError} `aws_kms_refused` in an enclave, `invalid_endpoint`.
   */
  static open({ nsmDevice, ...options }: AwsKmsOptions = {}): AwsKms {
    refuseInEnclave({
      name: "plain KMS backend",
      code: "aws_kms_refused",
      why: "KMS would release keys to whoever holds the parent's credentials.",
      nsmDevice,
    });
    return new AwsKms(new KmsApi(options));
  }

  async decrypt(access: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    const { ciphertext, keyId, context } = request;
    checkCall(access.region, access.credentials, { ...request, kind: "decrypt" });
    const answer = await this.#api.call("Decrypt", access, {
      CiphertextBlob: encodeBase64(ciphertext),
      ...(keyId === undefined ? {} : { KeyId: keyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" }),
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    using plaintext = takeSecret("Decrypt", answer, { min: 1, max: MAX_PLAINTEXT_LENGTH });
    checkKey("Decrypt", answer, keyId);
    return plaintext.clone();
  }

  async generateDataKey(access: KmsAccess, request: DataKeyRequest): Promise<DataKey> {
    const { keyId, keySpec, context } = request;
    checkCall(access.region, access.credentials, { ...request, kind: "generateDataKey" });
    const answer = await this.#api.call("GenerateDataKey", access, {
      KeyId: keyId,
      KeySpec: keySpec,
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    const length = keySpec === "AES_256" ? 32 : 16;
    using plaintext = takeSecret("GenerateDataKey", answer, { min: length, max: length });
    checkKey("GenerateDataKey", answer, keyId);
    const ciphertext = takeBytes("GenerateDataKey", answer, {
      field: "CiphertextBlob",
      min: 1,
      max: MAX_CIPHERTEXT_LENGTH,
    });
    return { plaintext: plaintext.clone(), ciphertext };
  }

  async generateRandom(access: KmsAccess, length: number): Promise<SecretBytes> {
    checkCall(access.region, access.credentials, { kind: "generateRandom", length });
    const answer = await this.#api.call("GenerateRandom", access, { NumberOfBytes: length });
    return takeSecret("GenerateRandom", answer, { min: length, max: length });
  }

  health(): KmsHealth {
    const { endpoint, counts } = this.#api;
    return {
      backend: "aws",
      attested: false,
      ...(endpoint === undefined ? {} : { endpoint }),
      calls: counts.calls,
      attempts: counts.attempts,
      failed: counts.failed,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#api[Symbol.dispose]();
    return Promise.resolve();
  }
}

function takeSecret(
  operation: KmsOperation,
  answer: KmsAnswer,
  lengths: { readonly min: number; readonly max: number },
): SecretBytes {
  return new SecretBytes(takeBytes(operation, answer, { ...lengths, field: "Plaintext" }));
}

/** The bytes of a field, which is not in the answer after it. What is wrong with them is said without them. */
function takeBytes(
  operation: KmsOperation,
  answer: KmsAnswer,
  { field, min, max }: { readonly field: string; readonly min: number; readonly max: number },
): Uint8Array<ArrayBuffer> {
  const text = answer[field];
  delete answer[field];
  const bytes = typeof text === "string" ? decode(text) : undefined;
  if (bytes === undefined) throw unbelievable(operation, `${field} is missing, or no base64`);
  if (bytes.length >= min && bytes.length <= max) return bytes;
  bytes.fill(0);
  throw unbelievable(operation, `${field} has ${bytes.length} bytes`);
}

function decode(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return decodeBase64(text);
  } catch {
    return undefined;
  }
}

/**
 * Compares the key that KMS used with the one that was asked for. An alias says nothing of the key behind it.
 *
 * @throws {AwsKmsError}
 */
function checkKey(operation: KmsOperation, answer: KmsAnswer, asked: string | undefined): void {
  if (asked === undefined || /(^|:)alias\//.test(asked)) return;
  const used = answer["KeyId"];
  const isAsked = typeof used === "string" &&
    (asked.startsWith("arn:") ? used === asked : used === asked || used.endsWith(`:key/${asked}`));
  if (isAsked) return;
  const named = typeof used === "string" ? JSON.stringify(used.slice(0, 128)) : "no key";
  throw unbelievable(operation, `it names ${named}, asked for was ${JSON.stringify(asked.slice(0, 128))}`);
}
