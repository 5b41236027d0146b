/**
 * The workflow: what this enclave does with the data. Replace the body of this one function with your own.
 *
 * It gets the opened plaintext and gives the plaintext that is sealed for the answer. Neither leaves the enclave in the clear. It may be
 * async; what it throws is answered with `internal_error`, and nothing of it leaves.
 *
 * @module
 */

/** The plaintext in, the plaintext out. As shipped it gives back what it gets. */
export function workflow(
  plaintext: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
  return plaintext;
}
