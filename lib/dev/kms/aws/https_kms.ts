/**
 * The Kms port over KMS's JSON API; an {@link AnswerReader} defines how plaintexts are requested and read.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { MAX_CIPHERTEXT_LENGTH } from "../../../shared/aws/kms_limits.ts";
import { checkCall } from "../../../enclave/kms/aws_ne/calls.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import type {
  DataKey,
  DataKeyRequest,
  DecryptRequest,
  Kms,
  KmsAccess,
  KmsHealth,
} from "../../../enclave/kms/kms.ts";
import { checkKey, takeBytes } from "./answer.ts";
import { type KmsAnswer, KmsApi, type KmsApiOptions } from "./api.ts";
import type { KmsOperation } from "./sign.ts";

/** KMS's limit on the plaintext of Encrypt, and therefore of Decrypt, bytes. */
const MAX_PLAINTEXT_LENGTH = 4096;

/** The allowed length of a plaintext, bytes. */
export interface Lengths {
  readonly min: number;
  readonly max: number;
}

/** How a plaintext is requested, and how it is read from a response. */
export interface AnswerReader {
  /** As `health` names the backend. */
  readonly backend: string;
  /** Whether requests carry attestation documents. */
  readonly attested: boolean;
  /** Additional fields of each request. */
  readonly fields: () => Promise<Readonly<Record<string, unknown>>>;
  /** The plaintext, the caller's to wipe. @throws {AwsKmsError} */
  readonly take: (operation: KmsOperation, answer: KmsAnswer, lengths: Lengths) => Promise<SecretBytes>;
}

/** KMS over HTTP(S). */
export class HttpsKms implements Kms {
  readonly attested: boolean;
  #api: KmsApi;
  #reader: AnswerReader;

  /**
   * Sends nothing: credentials are given with each call.
   *
   * @throws {EnclaveError} `invalid_endpoint`
   */
  constructor(options: KmsApiOptions, reader: AnswerReader) {
    this.#api = new KmsApi(options);
    this.#reader = reader;
    this.attested = reader.attested;
  }

  async #call(
    operation: KmsOperation,
    access: KmsAccess,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<KmsAnswer> {
    return await this.#api.call(operation, access, { ...fields, ...await this.#reader.fields() });
  }

  async decrypt(access: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    const { ciphertext, keyId, context } = request;
    checkCall(access.region, access.credentials, { ...request, kind: "decrypt" });
    const answer = await this.#call("Decrypt", access, {
      CiphertextBlob: encodeBase64(ciphertext),
      ...(keyId === undefined ? {} : { KeyId: keyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" }),
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    using plaintext = await this.#reader.take("Decrypt", answer, { min: 1, max: MAX_PLAINTEXT_LENGTH });
    checkKey("Decrypt", answer, keyId);
    return plaintext.clone();
  }

  async generateDataKey(access: KmsAccess, request: DataKeyRequest): Promise<DataKey> {
    const { keyId, keySpec, context } = request;
    checkCall(access.region, access.credentials, { ...request, kind: "generateDataKey" });
    const answer = await this.#call("GenerateDataKey", access, {
      KeyId: keyId,
      KeySpec: keySpec,
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    const length = keySpec === "AES_256" ? 32 : 16;
    using plaintext = await this.#reader.take("GenerateDataKey", answer, { min: length, max: length });
    checkKey("GenerateDataKey", answer, keyId);
    const ciphertext = takeBytes("GenerateDataKey", answer, {
      field: "CiphertextBlob",
      min: 1,
      max: MAX_CIPHERTEXT_LENGTH,
    });
    return { plaintext: plaintext.clone(), ciphertext };
  }

  /**
   * KMS's GenerateRandom, which the services do not use. It needs no key, so it can test an endpoint, the credentials and
   * the clock.
   *
   * @param length bytes, 1 to 1024
   */
  async generateRandom(access: KmsAccess, length: number): Promise<SecretBytes> {
    checkCall(access.region, access.credentials, { kind: "generateRandom", length });
    const answer = await this.#call("GenerateRandom", access, { NumberOfBytes: length });
    return await this.#reader.take("GenerateRandom", answer, { min: length, max: length });
  }

  health(): KmsHealth {
    const { endpoint, counts } = this.#api;
    return {
      backend: this.#reader.backend,
      attested: this.attested,
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
