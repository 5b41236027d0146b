/**
 * The Kms port over the SDK: attested, in an enclave. The only backend in the production entry.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import type { DataKey, DataKeyRequest, DecryptRequest, Kms, KmsAccess, KmsHealth } from "./kms.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import type { SdkPool } from "./sdk_process/pool.ts";

/** KMS through the attested SDK, in the SDK processes. */
export class NitroKms implements Kms {
  readonly attested = true;
  readonly opened: Promise<void>;
  readonly callsAtOnce: number;
  #pool: SdkPool;
  /**
   * Undefined until the first process has opened the SDK. The kernel's pool stays seeded after the process
   * that seeded it has ended.
   */
  #entropySeeded: boolean | undefined;

  /**
   * Takes ownership of a pool.
   *
   * @param started of the pool
   */
  constructor(pool: SdkPool, started: Promise<void>) {
    this.#pool = pool;
    this.callsAtOnce = pool.callsAtOnce;
    this.opened = started.then(() => this.#noteSeeding());
    // The service waits for it only once it listens.
    this.opened.catch(() => {});
  }

  #noteSeeding(): void {
    this.#entropySeeded ||= this.#pool.state.sessions.some(({ entropySeeded }) => entropySeeded);
  }

  get entropySeeded(): boolean | undefined {
    if (this.#entropySeeded === false) this.#noteSeeding();
    return this.#entropySeeded;
  }

  async decrypt({ region, credentials }: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    const { plaintext } = await this.#pool.call(region, credentials, { ...request, kind: "decrypt" });
    return plaintext;
  }

  async generateDataKey({ region, credentials }: KmsAccess, request: DataKeyRequest): Promise<DataKey> {
    const { plaintext, ciphertext } = await this.#pool.call(region, credentials, {
      ...request,
      kind: "generateDataKey",
    });
    if (ciphertext !== undefined) return { plaintext, ciphertext };
    plaintext[Symbol.dispose]();
    throw new EnclaveError("KMS gave no wrapped data key", { code: "sdk_kms_data_key" });
  }

  health(): KmsHealth {
    const { sessions, started, hung, lost, replaced, waiting } = this.#pool.state;
    const sum = (count: (session: (typeof sessions)[number]) => number) =>
      sessions.reduce((total, session) => total + count(session), 0);
    const { entropySeeded } = this;
    const blocking = sessions.find(({ blockingBecause }) => blockingBecause !== undefined)?.blockingBecause;
    return {
      backend: "nitro",
      attested: true,
      ...(entropySeeded === undefined ? {} : {
        entropy_seeded: entropySeeded,
        requests: blocking === undefined ? "attested requests" : `the SDK's blocking calls: ${blocking}`,
      }),
      sdk_processes: sessions.length,
      clients_warm: sum(({ clientsWarm }) => clientsWarm),
      clients_set_aside: sum(({ clientsSetAside }) => clientsSetAside),
      calls_waiting: waiting,
      processes_started: started,
      processes_hung: hung,
      processes_lost: lost,
      processes_replaced: replaced,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#pool[Symbol.dispose]();
    return Promise.resolve();
  }
}
