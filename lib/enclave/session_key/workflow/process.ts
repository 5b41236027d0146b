/**
 * A workflow process: it holds no key and no permission, loads the workflow, and runs it on the plaintexts that arrive on stdin. Whatever the
 * workflow does to this process, the service kills it and starts another.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { inspect } from "node:util";
import { concat, discard } from "../../../shared/bytes.ts";
import { FrameReader } from "../../children/frames.ts";
import { EnclaveError, kindOf, messageOf } from "../../../shared/errors.ts";
import { plainFields, shortText } from "../../../shared/log.ts";
import { writeAll } from "../../../shared/write_all.ts";
import { type Workflow, type WorkflowContext, WorkflowError } from "../../../workflow_context.ts";
import { bytesFrame, jsonFrame, jsonOf, KIND, partsOf, type WorkflowSettings } from "./messages.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a workflow process is given. */
export interface WorkflowProcessPorts {
  readonly stdin: { read(into: Uint8Array): Promise<number | null> };
  readonly stdout: { writeSync(bytes: Uint8Array): number };
  /**
   * Puts both walls up, before the workflow is loaded: the kernel's, and Deno's permissions.
   *
   * @returns the steps that the kernel refused
   * @throws {EnclaveError} when the kernel cannot be asked
   */
  readonly confine: (settings: WorkflowSettings) => readonly string[];
  /** Loads the workflow. */
  readonly load: () => Promise<{ readonly workflow: Workflow }>;
  /** Ends this process. */
  readonly exit: () => never;
}

/** The longest message of the service, beyond every `--max-message`. Bytes. */
const MAX_LENGTH = 256 * 1024 * 1024;

/** Requests that have begun and not ended, at most: one that is late, or fails, costs the others. */
const MAX_BEGUN = 8;

/** A request that is running or about to. */
interface Run extends WorkflowContext {
  readonly id: number;
  readonly plaintext: Bytes;
  readonly abandoned: AbortController;
}

/** Runs one workflow, and sends what comes of it. */
class Runner {
  #ports: WorkflowProcessPorts;
  #workflow: Workflow | undefined;
  #maxResult = 0;
  #waiting: Run[] = [];
  #begun = new Map<number, Run>();
  #leaving: Bytes[] = [];

  constructor(ports: WorkflowProcessPorts) {
    this.#ports = ports;
  }

  /** Sends a frame with the others of this turn of the event loop. */
  #send(frame: Bytes): void {
    if (this.#leaving.length === 0) setImmediate(() => this.#flush());
    this.#leaving.push(frame);
  }

  #flush(): void {
    const [first, ...others] = this.#leaving.splice(0);
    if (first === undefined) return;
    const frames = others.length === 0 ? first : concat([first, ...others]);
    try {
      writeAll((bytes) => this.#ports.stdout.writeSync(bytes), frames);
    } catch {
      // The service has ended, or the workflow has closed stdout.
      this.#ports.exit();
    }
    for (const frame of [frames, first, ...others]) discard(frame);
  }

  readonly log = (level: unknown, event: unknown, fields: unknown = {}): void => {
    const line = { level: String(level), event: shortText(event), fields: plainFields(fields) };
    this.#send(jsonFrame(KIND.log, 0, line));
  };

  /** Puts the walls up and loads the workflow. */
  async open(settings: WorkflowSettings): Promise<void> {
    this.#maxResult = settings.maxResult;
    this.#divert();
    try {
      const refused = this.#ports.confine(settings).join("; ");
      if (settings.requireWall && refused !== "") {
        throw new EnclaveError(`the kernel's wall around it is incomplete (${refused})`, {
          code: "workflow_unusable",
          hint: "The service must run as root in the enclave, as AWS's init starts it.",
        });
      }
      const { workflow } = await this.#ports.load();
      if (typeof workflow !== "function") throw new TypeError("lib/workflow.ts exports no function workflow");
      this.#workflow = workflow;
      this.#send(jsonFrame(KIND.ready, 0, { refused }));
    } catch (thrown) {
      if (thrown instanceof EnclaveError && thrown.code === "parent_ended") this.#ports.exit();
      const hint = thrown instanceof EnclaveError ? thrown.hint : undefined;
      this.#send(jsonFrame(KIND.unusable, 0, { message: messageOf(thrown), hint }));
    }
  }

  /** What a workflow prints goes to the log: stdout belongs to the protocol. */
  #divert(): void {
    for (const [name, value] of Object.entries(console)) {
      if (typeof value !== "function") continue;
      const level = ["debug", "warn", "error"].includes(name) ? name : "info";
      const print = (...parts: unknown[]) =>
        this.log(level, "console", {
          text: shortText(parts.map((part) => typeof part === "string" ? part : inspect(part)).join(" ")),
        });
      Object.defineProperty(console, name, { value: print, writable: true, configurable: true });
    }
    const report = (event: Event, thrown: unknown) => {
      event.preventDefault();
      this.log("error", "uncaught", { class: kindOf(thrown) });
    };
    globalThis.addEventListener("unhandledrejection", (event) => report(event, event.reason));
    globalThis.addEventListener("error", (event) => report(event, event.error));
  }

  /** Takes a request. It begins with {@link Runner.work}. */
  take(id: number, plaintext: Bytes): void {
    const abandoned = new AbortController();
    const { signal } = abandoned;
    this.#waiting.push({ id, requestId: String(id), plaintext, log: this.log, signal, abandoned });
  }

  /** Nobody waits for a request any more. */
  abandon(id: number): void {
    this.#begun.get(id)?.abandoned.abort();
    for (const run of this.#waiting) if (run.id === id) run.abandoned.abort();
  }

  /** Works on what has arrived, one after the other; one that returned a promise goes on meanwhile. */
  work(): void {
    while (this.#begun.size < MAX_BEGUN) {
      const run = this.#waiting.shift();
      if (run === undefined) break;
      if (run.signal.aborted) this.#end(run, bytesFrame(KIND.dropped, run.id));
      else this.#begin(run);
    }
    this.#flush();
  }

  #begin(run: Run): void {
    this.#leaving.push(bytesFrame(KIND.begun, run.id));
    // Results that are ready leave too, before the workflow takes the thread.
    this.#flush();
    this.#begun.set(run.id, run);
    try {
      const result: unknown = this.#workflow?.(run.plaintext, run);
      if (result instanceof Uint8Array) return this.#end(run, this.#resultFrame(run, result));
      Promise.resolve(result).then((value) => this.#resultFrame(run, value))
        .catch((thrown) => errorFrame(run, thrown)).then((frame) => this.#end(run, frame))
        .then(() => void setImmediate(() => this.work()));
    } catch (thrown) {
      this.#end(run, errorFrame(run, thrown));
    }
  }

  #end(run: Run, frame: Bytes): void {
    this.#begun.delete(run.id);
    run.plaintext.fill(0);
    this.#leaving.push(frame);
  }

  /** @throws {TypeError} on an invalid result */
  #resultFrame(run: Run, result: unknown): Bytes {
    if (!(result instanceof Uint8Array)) {
      const kind = result === null ? "null" : kindOf(result);
      throw new TypeError(`The workflow must return a Uint8Array, not ${kind}`);
    }
    if (result.length > this.#maxResult) {
      const most = `at most ${this.#maxResult} fit into a reply (--max-message)`;
      throw new TypeError(`The workflow returned ${result.length} bytes: ${most}`);
    }
    const frame = bytesFrame(KIND.result, run.id, result);
    result.fill(0);
    return frame;
  }
}

function errorFrame(run: Run, thrown: unknown): Bytes {
  if (thrown instanceof WorkflowError) {
    return jsonFrame(KIND.refused, run.id, { code: thrown.code, words: thrown.message });
  }
  const said = messageOf(thrown);
  const message = shortText(thrown instanceof Deno.errors.NotCapable ? withoutAdvice(said) : said);
  const stack = thrown instanceof Error ? shortText(thrown.stack) : undefined;
  return jsonFrame(KIND.failed, run.id, { class: shortText(kindOf(thrown)), message, stack });
}

/**
 * What Deno says of a missing permission, without its advice to allow it: no option gives a workflow
 * permissions.
 */
function withoutAdvice(message: string): string {
  const [what] = message.split(/, (?:run again|specify)/);
  return `${what}: a workflow may use no files, no network and no programs, as in the enclave`;
}

/** Runs the workflow until stdin ends. @throws {RangeError} when what arrives is not a message. */
export async function runWorkflowProcess(ports: WorkflowProcessPorts): Promise<void> {
  const runner = new Runner(ports);
  const reader = new FrameReader(MAX_LENGTH);
  // As much as a pipe holds.
  const buffer = new Uint8Array(64 * 1024);
  for (let length; (length = await ports.stdin.read(buffer)) !== null;) {
    for (const body of reader.push(buffer.subarray(0, length))) {
      const { kind, id, content } = partsOf(body);
      if (kind === KIND.open) await runner.open(jsonOf(content) as unknown as WorkflowSettings);
      else if (kind === KIND.run) runner.take(id, content);
      else if (kind === KIND.abandon) runner.abandon(id);
    }
    runner.work();
  }
}
