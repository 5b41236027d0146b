/**
 * The Kms port over KMS's JSON API, for development: AWS's own KMS or one that speaks like it (LocalStack, moto), no attestation. It is not in the
 * graph of the production entry, and refuses to start where there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * A plaintext key comes in JSON, so as a string, which cannot be wiped: it is let go at once, and the bytes that it came in are wiped.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { MAX_CIPHERTEXT_LENGTH } from "../aws/kms_limits.ts";
import { checkCall } from "../aws_ne/calls.ts";
import type { SecretBytes } from "../crypto/secret_bytes.ts";
import { checkKey, takeBytes, takeSecret } from "./aws/answer.ts";
import { KmsApi, type KmsApiOptions } from "./aws/api.ts";
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
