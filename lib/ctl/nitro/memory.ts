/**
 * The least memory of an enclave.
 *
 * @module
 */

/** An enclave does not run with less. */
export const MIN_MEMORY_MIB = 408;

/** Why. */
export const MIN_MEMORY_REASONS: readonly string[] = [
  "nitro-cli refuses to run an enclave with less than four times the size of its image (error E26), and the image has 106 MB",
  "the image boots with 320 MiB, but not with less (measured in an emulated enclave)",
];
