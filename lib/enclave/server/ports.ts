/**
 * The ports of the services other than the Kms, injected so that tests and dry runs can replace them.
 *
 * @module
 */
import type { Random } from "../../shared/crypto/random.ts";

/** Makes attestation documents: the NSM, or a stand-in. */
export interface Attester {
  /**
   * Makes a signed document with the measurements and these fields.
   *
   * @param userData up to 512 bytes
   * @param nonce up to 512 bytes
   * @param publicKey the service's own key, of a type that KMS cannot encrypt to
   */
  attest(
    statement: {
      readonly userData: Uint8Array<ArrayBuffer>;
      readonly nonce: Uint8Array<ArrayBuffer>;
      readonly publicKey?: Uint8Array<ArrayBuffer>;
    },
  ): Promise<Uint8Array<ArrayBuffer>>;
}

/** The source of all random numbers. */
export interface EntropySource {
  /** The kernel's generator of hardware randomness, from `/sys/class/misc/hw_random/rng_current`; undefined when that names none. */
  readonly kernelGenerator: string | undefined;
  readonly random: Random;
}
