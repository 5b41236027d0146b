/**
 * A fake of the `Kms` interface whose answers a test scripts, typed by the interface.
 *
 * @module
 */
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import type { DataKey, DecryptRequest, Kms, KmsAccess, KmsHealth } from "../../lib/enclave/kms/kms.ts";

/** Answers decrypts by a function, and notes what it was asked. */
export class FakeKms implements Kms {
  readonly asked: {
    readonly region: string;
    readonly accessKeyId: string;
    readonly request: DecryptRequest;
  }[] = [];
  readonly attested: boolean;
  disposed = false;
  entropySeeded = true;
  #decrypt: (request: DecryptRequest) => Promise<Uint8Array<ArrayBuffer>>;

  constructor(decrypt: (request: DecryptRequest) => Promise<Uint8Array<ArrayBuffer>>, attested = true) {
    this.#decrypt = decrypt;
    this.attested = attested;
  }

  async decrypt({ region, credentials }: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    const accessKeyId = new TextDecoder().decode(credentials.expose().accessKeyId);
    this.asked.push({ region, accessKeyId, request });
    return new SecretBytes(await this.#decrypt(request));
  }

  generateDataKey(): Promise<DataKey> {
    return Promise.reject(new TypeError("the fake makes no data keys"));
  }

  health(): KmsHealth {
    return { backend: "fake" };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    return Promise.resolve();
  }
}
