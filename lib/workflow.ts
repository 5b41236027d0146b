/**
 * The workflow: it defines what this enclave does with the data. Replace the body of this one function with your own; `examples/workflows/` has some.
 *
 * It gets the opened plaintext and gives the plaintext that is sealed for the answer. Neither leaves the enclave in the clear. It may be
 * async. A thrown `WorkflowError` reaches the client with its code and message; other errors are not disclosed.
 *
 * @module
 */
import type { WorkflowContext } from "./workflow_context.ts";

/** The plaintext in, the plaintext out. The default workflow returns its input unchanged. */
export function workflow(
  plaintext: Uint8Array<ArrayBuffer>,
  _context: WorkflowContext,
): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
  return plaintext;
}
