/**
 * What the services need of the world beside a Kms: given from outside, so that tests and dry runs give others.
 *
 * @module
 */

/** Gives attestation documents: the NSM, or a stand-in. */
export interface Attester {
  /**
   * A signed document over the measurements, with this in it.
   *
   * @param userData up to 512 bytes
   * @param nonce up to 512 bytes
   * @param publicKey the service's own, which is none that KMS would encrypt to
   */
  attest(
    statement: {
      readonly userData: Uint8Array<ArrayBuffer>;
      readonly nonce: Uint8Array<ArrayBuffer>;
      readonly publicKey?: Uint8Array<ArrayBuffer>;
    },
  ): Promise<Uint8Array<ArrayBuffer>>;
}

/** What is known of the random numbers that keys are made of. */
export interface EntropySource {
  /** The kernel's generator of hardware randomness, as `/sys/class/misc/hw_random/rng_current` names it; undefined when it names none. */
  readonly kernelGenerator: string | undefined;
}

/** Nothing is known. */
export const UNKNOWN_ENTROPY: EntropySource = { kernelGenerator: undefined };
