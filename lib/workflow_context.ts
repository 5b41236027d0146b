/**
 * The context of a workflow, and the error that it may throw. `lib/workflow.ts` holds the workflow itself.
 *
 * @module
 */
import type { Log } from "./shared/log.ts";

/** A workflow's input in addition to the plaintext. */
export interface WorkflowContext {
  /** Unique for each request of this run. */
  readonly requestId: string;
  /** Aborted when the request was answered `timeout`, or its client has disconnected: the result is then no longer used. */
  readonly signal: AbortSignal;
  /**
   * Writes a line to the service's log, which the parent can read: never a secret.
   *
   * @param event a word, such as `order_refused`
   * @param fields strings, numbers and booleans
   */
  readonly log: Log;
}

/**
 * What the enclave does with the data: plaintext in, plaintext out, synchronously or as a promise. The input is wiped when the request ends, and the result once it was
 * sealed: return the input, or a new array for each request.
 *
 * @throws {WorkflowError} with a code and words for the client; of any other error, the client gets `internal_error`
 */
export type Workflow = (
  plaintext: Uint8Array<ArrayBuffer>,
  context: WorkflowContext,
) => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;

const CODE = /^[A-Za-z0-9_.-]{1,64}$/;
const MAX_WORDS = 1_000;

/** A refusal for the client: it gets `workflow_failed` with this code and message, unencrypted. */
export class WorkflowError extends Error {
  /** The class. */
  override name = "WorkflowError";
  /** For programs. */
  readonly code: string;

  /**
   * Goes out as an error reply.
   *
   * @param code up to 64 letters, digits, dots, dashes and underscores
   * @param words for people, up to 1,000 characters. The parent can read them: never a part of the data.
   * @throws {RangeError} when either is anything else
   */
  constructor(code: string, words: string) {
    super(words);
    const cannot = (what: string, wants: string) =>
      new RangeError(`Cannot use ${what} as a WorkflowError's ${wants}`);
    if (!CODE.test(code)) throw cannot(JSON.stringify(code), `code: it must match ${CODE.source}`);
    if (words.length > MAX_WORDS) throw cannot(`${words.length} characters`, `words: at most ${MAX_WORDS}`);
    this.code = code;
  }
}
