/**
 * The Kms port over the SDK: attested, in an enclave. The only backend in the production entry.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";
import type { DataKey, DataKeyRequest, DecryptRequest, Kms, KmsAccess, KmsHealth } from "./kms.ts";
import type { SecretBytes } from "../crypto/secret_bytes.ts";
import type { SdkHost } from "./sdk_process/host.ts";

/** KMS through the attested SDK, in its host. */
export class NitroKms implements Kms {
  readonly attested = true;
  #host: SdkHost;

  /** Takes over a host that was started. */
  constructor(host: SdkHost) {
    this.#host = host;
  }

  async decrypt({ region, credentials }: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    const { plaintext } = await this.#host.call(region, credentials, { ...request, kind: "decrypt" });
    return plaintext;
  }

  async generateDataKey({ region, credentials }: KmsAccess, request: DataKeyRequest): Promise<DataKey> {
    const { plaintext, ciphertext } = await this.#host.call(region, credentials, {
      ...request,
      kind: "generateDataKey",
    });
    if (ciphertext !== undefined) return { plaintext, ciphertext };
    plaintext[Symbol.dispose]();
    throw new EnclaveError("KMS gave no wrapped data key", { code: "sdk_kms_data_key" });
  }

  health(): KmsHealth {
    const { session, started, givenUp, lost } = this.#host.state;
    return {
      backend: "nitro",
      attested: true,
      entropy_seeded: session?.entropySeeded ?? false,
      clients_warm: session?.clientsWarm ?? 0,
      clients_set_aside: session?.clientsSetAside ?? 0,
      hosts_started: started,
      hosts_given_up: givenUp,
      hosts_lost: lost,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#host[Symbol.dispose]();
    return Promise.resolve();
  }
}
