/**
 * The emulator in this process, as the Kms port of the development service, the dry run and tests. It does not check who calls.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import type { Nsm } from "../../enclave/cli/nsm.ts";
import type {
  DataKey,
  DataKeyRequest,
  DecryptRequest,
  Kms,
  KmsAccess,
  KmsHealth,
} from "../../enclave/kms/kms.ts";
import type { EncryptionContext } from "../../shared/aws/kms_limits.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { KmsService } from "../kms_emulator/service.ts";
import { JsonKms } from "./json_kms.ts";

/** Options of {@link LocalKms.open}. */
interface LocalKmsOptions {
  readonly region: string;
  /** Keys are kept here, mode 0600. Without it they exist only in memory. */
  readonly file?: string | undefined;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

/** The keys of a file may be of any account. */
const ANYBODY = JSON.stringify({
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: "*", Action: "kms:*", Resource: "*" }],
});

/** The port over an emulator in this process, which is borrowed. @param nsm makes attestation documents; borrowed */
export async function inProcess(service: KmsService, nsm?: Pick<Nsm, "attest">): Promise<JsonKms> {
  const api = {
    call: (operation: string, _: KmsAccess, fields: Readonly<Record<string, unknown>>) =>
      service.call(operation, fields),
    health: () => ({ keys: service.keyArns.length }),
    [Symbol.dispose]: () => {},
  };
  return nsm === undefined ? JsonKms.plain(api, "local") : await JsonKms.attested(api, nsm);
}

/** The embedded KMS. */
export class LocalKms implements Kms {
  readonly attested = false;
  #service: KmsService;
  #kms: JsonKms;

  private constructor(service: KmsService, kms: JsonKms) {
    this.#service = service;
    this.#kms = kms;
  }

  /**
   * Opens it with the keys of the file. Without any keys, makes one.
   *
   * @throws {EnclaveError} `local_kms_refused` in an enclave, `local_kms_file` when the file cannot be used.
   */
  static async open({ file: keysFile, ...options }: LocalKmsOptions): Promise<LocalKms> {
    const service = await KmsService.open({ ...options, keysFile, policies: [{ policy: ANYBODY }] });
    return new LocalKms(service, await inProcess(service));
  }

  /** The keys' ARNs, oldest first. */
  get keyArns(): readonly string[] {
    return this.#service.keyArns;
  }

  /** Makes a key. @returns its ARN */
  async createKey(): Promise<string> {
    const { KeyMetadata: metadata } = await this.#service.call("CreateKey", {});
    return String((metadata as { readonly Arn?: unknown }).Arn);
  }

  /** KMS Encrypt: used once, to wrap a key. */
  async encrypt(
    keyId: string,
    plaintext: Uint8Array,
    context: EncryptionContext = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const fields = { KeyId: keyId, Plaintext: encodeBase64(plaintext), EncryptionContext: context };
    const { CiphertextBlob: blob } = await this.#service.call("Encrypt", fields);
    return decodeBase64(String(blob));
  }

  decrypt(access: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    return this.#kms.decrypt(access, request);
  }

  generateDataKey(access: KmsAccess, request: DataKeyRequest): Promise<DataKey> {
    return this.#kms.generateDataKey(access, request);
  }

  health(): KmsHealth {
    return this.#kms.health();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#service[Symbol.dispose]();
    return Promise.resolve();
  }
}
