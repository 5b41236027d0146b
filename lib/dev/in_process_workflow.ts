/**
 * Runs the workflow in this process: for dry runs and unit tests. The enclave runs it in processes that hold no key.
 *
 * @module
 */
import type { Ports } from "../enclave/server/feature.ts";
import type { Workflows } from "../enclave/session_key/workflow/pool.ts";
import { kindOf, messageOf } from "../shared/errors.ts";
import { WireError } from "../shared/wire/messages.ts";
import { type Workflow, WorkflowError } from "../workflow_context.ts";

/**
 * The bytes in a buffer of their own, which those of node's `Buffer` may share with others.
 *
 * @throws {TypeError} where they are no bytes
 */
const copy = (result: Uint8Array<ArrayBuffer>): typeof result => Uint8Array.prototype.slice.call(result);

/** Makes what runs a function as the workflow. */
export function inProcess(workflow: Workflow): (ports: Ports) => Workflows {
  return ({ log }) => {
    let requests = 0;
    const fail = (thrown: unknown): never => {
      if (thrown instanceof WorkflowError) throw thrown;
      log("error", "workflow_threw", { class: kindOf(thrown), message: messageOf(thrown) });
      throw new WireError("internal_error", "The workflow failed; denclavectl client logs says why");
    };
    return {
      run: (plaintext, signal) => {
        try {
          const result = workflow(plaintext, { requestId: String(++requests), signal, log });
          return result instanceof Promise ? result.then(copy).catch(fail) : copy(result);
        } catch (thrown) {
          return fail(thrown);
        }
      },
      state: { processes: 0, busy: 0, queue: 0, started: 0, killed: 0, lost: 0 },
      [Symbol.dispose]: () => {},
    };
  };
}
