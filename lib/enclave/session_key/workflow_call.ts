/**
 * Calls the workflow and enforces its contract: it ends or is abandoned, its result is new bytes, and its errors disclose nothing to the client.
 *
 * @module
 */
import { EnclaveError, kindOf } from "../../shared/errors.ts";
import type { Log, LogFields, LogLevel } from "../../shared/log.ts";
import { type Workflow, WorkflowError } from "../../workflow_context.ts";

/** The workflow threw an error that the client may not see, or returned an invalid result. */
export class WorkflowFault extends Error {
  override name = "WorkflowFault";
  /** As in the workflow's context. */
  readonly requestId: string;

  constructor(requestId: string, cause: unknown) {
    super("The workflow failed", { cause });
    this.requestId = requestId;
  }

  /**
   * Fields for the log.
   *
   * @param isDevelopment whether to show the error's message. Never in production: it may contain data, and the parent reads the log.
   */
  describe(isDevelopment: boolean): LogFields {
    const { cause, requestId } = this;
    const shown = !isDevelopment
      ? {}
      : cause instanceof Deno.errors.NotCapable
      ? { message: withoutAdvice(cause.message) }
      : cause instanceof Error
      ? { message: cause.message, stack: cause.stack }
      : { message: String(cause) };
    return { request_id: requestId, class: kindOf(cause), ...shown };
  }
}

/**
 * What Deno says of a missing permission, without its advice to allow it: no option gives a workflow
 * permissions.
 */
function withoutAdvice(message: string): string {
  const [what] = message.split(/, (?:run again|specify)/);
  return `${what}: a workflow may use no files, no network and no programs, as in the enclave`;
}

/** Calls one workflow. */
export class WorkflowCaller {
  #workflow: Workflow;
  #log: Log;
  #requests = 0;
  /** Arrays that were sealed and wiped: if one is returned again, zeros would be sealed. */
  #wiped = new WeakSet<Uint8Array>();

  constructor(workflow: Workflow, log: Log) {
    this.#workflow = workflow;
    this.#log = (level, event, fields) => log(asLevel(level), "workflow", plainFields(event, fields));
  }

  /**
   * Runs it.
   *
   * @param plaintext borrowed until the result is returned
   * @param signal ends the wait for it
   * @returns the result, the caller's to wipe
   * @throws {WorkflowError | WorkflowFault | EnclaveError} or rejects with it; the last is `abandoned`
   */
  call(
    plaintext: Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const requestId = String(++this.#requests);
    const fail = (thrown: unknown): never => {
      throw thrown instanceof WorkflowError ? thrown : new WorkflowFault(requestId, thrown);
    };
    let result: unknown;
    try {
      result = this.#workflow(plaintext, { requestId, signal, log: this.#log });
      if (!isThenable(result)) return this.#check(result, plaintext);
    } catch (thrown) {
      return fail(thrown);
    }
    const settled = Promise.resolve(result).then((value) => this.#check(value, plaintext)).catch(fail);
    return orAbandoned(settled, signal);
  }

  /** @throws {TypeError} on an invalid result */
  #check(result: unknown, plaintext: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (!(result instanceof Uint8Array)) {
      throw new TypeError(
        `The workflow must return a Uint8Array, not ${result === null ? "null" : kindOf(result)}`,
      );
    }
    if (!(result.buffer instanceof ArrayBuffer)) {
      throw new TypeError("The workflow must return a Uint8Array of memory that it does not share");
    }
    if (result === plaintext) return plaintext;
    if (this.#wiped.has(result)) {
      throw new TypeError(
        "The workflow returned an array again that was wiped: return a new one for each request",
      );
    }
    this.#wiped.add(result);
    return result as Uint8Array<ArrayBuffer>;
  }
}

const LEVELS: readonly unknown[] = ["debug", "info", "warn", "error"];
const MAX_FIELDS = 32;
/** Fields of every log line, which a workflow cannot set. */
const OWN_FIELDS: readonly string[] = ["time", "level", "event"];

/** A workflow may be plain JavaScript, so its types are not checked. */
function asLevel(level: LogLevel): LogLevel {
  return LEVELS.includes(level) ? level : "info";
}

/** The workflow's event and fields, limited to fit one log line. The log itself shortens long text. */
function plainFields(event: unknown, fields: unknown): LogFields {
  const entries = typeof fields === "object" && fields !== null ? Object.entries(fields) : [];
  const plain = entries.filter(([name]) => !OWN_FIELDS.includes(name)).slice(0, MAX_FIELDS).map((
    [name, value]: [string, unknown],
  ) =>
    [
      name.slice(0, 64),
      typeof value === "number" || typeof value === "boolean" ? value : String(value),
    ] as const
  );
  // Last, so that no field replaces it.
  return { ...Object.fromEntries(plain), workflow_event: String(event) };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** The result; or an error once the client no longer waits, so that a workflow that never ends does not keep the key and the plaintext. */
function orAbandoned<T>(working: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abandon = () => reject(new EnclaveError("The workflow did not end in time", { code: "abandoned" }));
    if (signal.aborted) abandon();
    signal.addEventListener("abort", abandon, { once: true });
    void working.then(resolve, reject).finally(() => signal.removeEventListener("abort", abandon));
  });
}
