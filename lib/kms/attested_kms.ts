/**
 * An enclave's side of attested calls, in TypeScript, for tests and dry runs: what the enclave's SDK does, with a simulated module in place of the NSM. It is not in the
 * graph of the production entry, and refuses to start where there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import type { Nsm } from "../attestation/nsm.ts";
import { MAX_CIPHERTEXT_LENGTH } from "../aws/kms_limits.ts";
import { checkCall } from "../aws_ne/calls.ts";
import { SecretBytes } from "../crypto/secret_bytes.ts";
import { checkKey, takeBytes } from "./aws/answer.ts";
import { type KmsAnswer, KmsApi, type KmsApiOptions, unbelievable } from "./aws/api.ts";
import type { KmsOperation } from "./aws/sign.ts";
import type { DataKey, DataKeyRequest, DecryptRequest, Kms, KmsAccess, KmsHealth } from "./kms.ts";
import { refuseInEnclave } from "./outside_enclave.ts";
import { KEY_ENCRYPTION_ALGORITHM, openEnvelopedData } from "../cms/enveloped_data.ts";

const RSA_2048 = {
  name: "RSA-OAEP",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
} as const;
const MAX_PLAINTEXT_LENGTH = 4096;
const MAX_ENVELOPE_LENGTH = 16 * 1024;

/** Options of {@link SimulatedAttestedKms.open}. */
export interface SimulatedAttestedKmsOptions extends KmsApiOptions {
  /** Makes the documents; borrowed. */
  readonly nsm: Pick<Nsm, "attest">;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

/** KMS, asked with attestation documents. */
export class SimulatedAttestedKms implements Kms {
  readonly attested = true;
  #api: KmsApi;
  #nsm: Pick<Nsm, "attest">;
  #privateKey: CryptoKey;
  #publicKey: Uint8Array<ArrayBuffer>;

  private constructor(
    api: KmsApi,
    nsm: Pick<Nsm, "attest">,
    keys: { readonly privateKey: CryptoKey; readonly publicKey: Uint8Array<ArrayBuffer> },
  ) {
    this.#api = api;
    this.#nsm = nsm;
    this.#privateKey = keys.privateKey;
    this.#publicKey = keys.publicKey;
  }

  /**
   * Makes its RSA-2048 key pair, one for its life, as the SDK's client does. Nothing is sent.
   *
   * @throws {EnclaveError} `simulated_kms_refused` in an enclave, `invalid_endpoint`.
   */
  static async open(
    { nsm, nsmDevice, ...options }: SimulatedAttestedKmsOptions,
  ): Promise<SimulatedAttestedKms> {
    refuseInEnclave({
      name: "simulated attested KMS",
      code: "simulated_kms_refused",
      why: "Its documents are of a module that nobody should trust.",
      nsmDevice,
    });
    const { privateKey, publicKey } = await crypto.subtle.generateKey(RSA_2048, false, [
      "encrypt",
      "decrypt",
    ]);
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
    return new SimulatedAttestedKms(new KmsApi(options), nsm, { privateKey, publicKey: spki });
  }

  async decrypt(access: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    const { ciphertext, keyId, context } = request;
    checkCall(access.region, access.credentials, { ...request, kind: "decrypt" });
    const answer = await this.#call("Decrypt", access, {
      CiphertextBlob: encodeBase64(ciphertext),
      ...(keyId === undefined ? {} : { KeyId: keyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" }),
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    using plaintext = await this.#open("Decrypt", answer, { min: 1, max: MAX_PLAINTEXT_LENGTH });
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
    using plaintext = await this.#open("GenerateDataKey", answer, { min: length, max: length });
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
    const answer = await this.#call("GenerateRandom", access, { NumberOfBytes: length });
    return await this.#open("GenerateRandom", answer, { min: length, max: length });
  }

  /** Each call has a document of its own, since KMS takes none that is older than five minutes. */
  async #call(
    operation: KmsOperation,
    access: KmsAccess,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<KmsAnswer> {
    const document = await this.#nsm.attest({ publicKey: this.#publicKey });
    return await this.#api.call(operation, access, {
      ...fields,
      Recipient: {
        AttestationDocument: encodeBase64(document),
        KeyEncryptionAlgorithm: KEY_ENCRYPTION_ALGORITHM,
      },
    });
  }

  async #open(
    operation: KmsOperation,
    answer: KmsAnswer,
    { min, max }: { readonly min: number; readonly max: number },
  ): Promise<SecretBytes> {
    const { Plaintext: plain } = answer;
    if (plain !== undefined && plain !== null && plain !== "") {
      throw unbelievable(operation, "it has a Plaintext, where only this enclave may read it");
    }
    const envelope = takeBytes(operation, answer, {
      field: "CiphertextForRecipient",
      min: 1,
      max: MAX_ENVELOPE_LENGTH,
    });
    const plaintext = new SecretBytes(await openEnvelopedData(this.#privateKey, envelope));
    if (plaintext.length >= min && plaintext.length <= max) return plaintext;
    const { length } = plaintext;
    plaintext[Symbol.dispose]();
    throw unbelievable(operation, `what it holds for this enclave has ${length} bytes`);
  }

  health(): KmsHealth {
    const { endpoint, counts } = this.#api;
    return {
      backend: "simulated",
      attested: true,
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
