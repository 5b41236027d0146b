/**
 * Runs the workflow in processes of its own. Each is handed a few requests at a time and works on them in order; one that is late, or ends, is
 * replaced by another that is ready. Requests that had begun are never repeated, since a workflow may have effects; others go to the next
 * process.
 *
 * @module
 */
import { Children, type ChildrenOptions, type FailureOptions, type Member } from "../../children/children.ts";
import { discard } from "../../../shared/bytes.ts";
import { EnclaveError } from "../../../shared/errors.ts";
import { type LogLevel, plainFields } from "../../../shared/log.ts";
import { WireError } from "../../../shared/wire/messages.ts";
import { Metrics } from "../../server/metrics.ts";
import { WorkflowError } from "../../../workflow_context.ts";
import { bytesFrame, HEADROOM, jsonFrame, jsonOf, KIND, partsOf, type WorkflowSettings } from "./messages.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Requests that are handed over at a time: a number that is divided by that of the processes, and the least for
 * each. The more there are, the more travel in one write; the fewer, the fewer wait behind a slow one.
 */
const HANDED = { together: 32, each: 8 };
/** Requests that wait for a process. */
const MAX_WAITING = 1_024;
/** How often requests that are late, or that nobody waits for any more, are looked for. Milliseconds. */
const SWEEP_MS = 100;
/** Time until a process has loaded the workflow. Milliseconds. */
const START_MS = 20_000;
/** Time until a process begins one of the requests that it was given. Milliseconds. */
const BEGIN_MS = 5_000;

/** Options of a {@link WorkflowPool}. */
export interface WorkflowPoolOptions extends Pick<ChildrenOptions<unknown>, "start" | "log" | "after"> {
  /** Processes that work at the same time; one more is kept ready. */
  readonly processes: number;
  /** The longest that the workflow may work on a request. Milliseconds. */
  readonly deadlineMs: number;
  readonly settings: WorkflowSettings;
  /** Whether the log shows the messages of the workflow's errors. Never in production, since they may contain data. */
  readonly isDevelopment: boolean;
  /** Milliseconds. */
  readonly monotonic: () => number;
}

interface Job {
  readonly id: number;
  /** The frame with the plaintext: it is wiped once the workflow has begun, since the request then never goes to another process. */
  readonly frame: Bytes;
  readonly settle: PromiseWithResolvers<Bytes>;
  readonly signal: AbortSignal;
  /** The process that has it. */
  member: Member<Handed> | undefined;
  /** When the workflow began to work on it. */
  begunAt: number | undefined;
  /** It was answered. */
  isOver: boolean;
}

/**
 * The jobs of a process, by id, in the order in which they were handed over; and when it last answered, or
 * was given a request while it had none.
 */
type Handed = { readonly jobs: Map<number, Job>; movedAt: number };

/** What `health` shows. */
export interface WorkflowState {
  readonly processes: number;
  readonly busy: number;
  readonly queue: number;
  readonly started: number;
  readonly killed: number;
  readonly lost: number;
  readonly problem?: string;
  /** The time that the workflow alone took, milliseconds. */
  readonly p50_ms?: number;
  readonly p99_ms?: number;
}

/** Runs the workflow. Disposing ends it. */
export interface Workflows extends Disposable {
  /** Bytes that a plaintext's buffer should have before it; 0 if undefined. */
  readonly headroom?: number;
  /**
   * Has the workflow work on a plaintext.
   *
   * @param plaintext wiped; not copied if its buffer has the headroom before it
   * @param signal ends the wait for it
   * @returns the result, the caller's to discard
   * @throws {WorkflowError | WireError | EnclaveError} or rejects: `workflow_timeout`, `workflow_lost`, `busy`, `abandoned`
   */
  run(plaintext: Bytes, signal: AbortSignal): Promise<Bytes> | Bytes;
  /** What `health` tells of it. */
  readonly state: WorkflowState;
}

function failure(how: string, options: FailureOptions = {}): EnclaveError {
  // What could not even be started will not do better for the request that waits.
  const code = options.cause === undefined ? "workflow_process" : "workflow_unusable";
  return new EnclaveError(`A workflow process ended: ${how}`, { code, ...options });
}

/** Processes that run the workflow. Disposing ends them. */
export class WorkflowPool implements Workflows {
  readonly headroom = HEADROOM;
  #options: WorkflowPoolOptions;
  #children: Children<Handed>;
  #waiting: Job[] = [];
  #lastId = 0;
  #saidWall = false;
  #cancelSweep: (() => void) | undefined;
  #closed = false;
  #metrics = new Metrics();

  constructor(options: WorkflowPoolOptions) {
    this.#options = options;
    this.#children = new Children<Handed>({
      ...options,
      count: options.processes + 1,
      startMs: START_MS,
      events: {
        hung: "workflow_process_killed",
        lost: "workflow_process_lost",
        restart: "workflow_process_restart",
      },
      keep: () => ({ jobs: new Map(), movedAt: 0 }),
      hello: () => jsonFrame(KIND.open, 0, options.settings),
      opened: (_, body) => {
        const { kind, content } = partsOf(body);
        const { refused, message, hint } = jsonOf(content);
        if (kind === KIND.ready) return this.#noteWall(refused);
        throw new EnclaveError(`The workflow cannot be run: ${String(message)}`, {
          code: "workflow_unusable",
          hint: typeof hint === "string" ? hint : undefined,
        });
      },
      ready: () => this.#dispatch(),
      message: (member, body) => this.#message(member, body),
      gone: (member, reason) => this.#gone(member, reason),
      failure,
      retryFirst: true,
    });
  }

  /** Starts the processes. Requests may come at once: they wait. */
  start(): void {
    this.#children.start().catch((thrown: unknown) => {
      if (this.#closed || !(thrown instanceof EnclaveError)) return;
      this.#options.log("error", "workflow_unusable", { reason: thrown.message, hint: thrown.hint });
      this.#refuseWaiting();
    });
  }

  /** Where no process can run the workflow, nothing waits for one. */
  #refuseWaiting(): void {
    const { lastLoss, hasOpened } = this.#children;
    if (lastLoss === undefined || (hasOpened && lastLoss.code !== "workflow_unusable")) return;
    for (const job of this.#waiting.splice(0)) this.#reject(job, unusable());
  }

  /** What `health` tells of it. */
  get state(): WorkflowState {
    const { started, hung, lost } = this.#children.counts;
    const working = this.#working;
    const problem = this.#children.lastLoss?.message;
    const alone = this.#metrics.snapshot()["workflow"];
    return {
      processes: working.length,
      busy: working.filter(({ kept }) => kept.jobs.size > 0).length,
      queue: this.#waiting.length,
      started,
      killed: hung,
      lost,
      ...(problem === undefined ? {} : { problem }),
      ...(alone === undefined ? {} : { p50_ms: alone.p50_ms, p99_ms: alone.p99_ms }),
    };
  }

  /** The processes that take work; the newest one is kept ready. */
  get #working(): readonly Member<Handed>[] {
    return this.#children.open.slice(0, this.#options.processes);
  }

  run(plaintext: Bytes, signal: AbortSignal): Promise<Bytes> {
    const id = ++this.#lastId;
    const frame = bytesFrame(KIND.run, id, plaintext);
    if (frame.buffer !== plaintext.buffer) plaintext.fill(0);
    const settle = Promise.withResolvers<Bytes>();
    const job: Job = { id, frame, settle, signal, member: undefined, begunAt: undefined, isOver: false };
    if (this.#closed || this.#waiting.length >= MAX_WAITING) {
      const full = `${MAX_WAITING} requests wait for the workflow: try again later`;
      this.#reject(job, new WireError("busy", full));
    } else {
      this.#waiting.push(job);
      this.#refuseWaiting();
      this.#dispatch();
      if (this.#cancelSweep === undefined) this.#sweep();
    }
    return settle.promise;
  }

  /**
   * Ends processes that are late, and requests that nobody waits for any more. A timer for each request, or
   * listening to each signal, would cost more than the rest of the hand-over.
   */
  #sweep(): void {
    const { open } = this.#children;
    const jobs = [...this.#waiting, ...open.flatMap(({ kept }) => [...kept.jobs.values()])];
    for (const job of jobs) if (job.signal.aborted && !job.isOver) this.#abandon(job);
    // What begins between two sweeps is not late before the second one.
    const next = Math.min(SWEEP_MS, this.#options.deadlineMs, ...open.map((member) => this.#watch(member)));
    this.#cancelSweep = jobs.length === 0 ? undefined : this.#children.after(next, () => this.#sweep());
  }

  /** Hands waiting requests to the processes with the fewest. */
  #dispatch(): void {
    const most = Math.max(HANDED.each, Math.floor(HANDED.together / this.#options.processes));
    while (this.#waiting.length > 0) {
      let least: Member<Handed> | undefined;
      for (const member of this.#working) {
        if (least === undefined || member.kept.jobs.size < least.kept.jobs.size) least = member;
      }
      if (least === undefined || least.kept.jobs.size >= most) return;
      const job = this.#waiting.shift();
      if (job === undefined) return;
      if (least.kept.jobs.size === 0) least.kept.movedAt = this.#options.monotonic();
      job.member = least;
      least.kept.jobs.set(job.id, job);
      least.child.post(job.frame, "keep");
    }
  }

  /** Outside an enclave the wall may be incomplete, as where the service is not root: that is said once. */
  #noteWall(refused: unknown): void {
    if (refused === "" || this.#saidWall) return;
    this.#saidWall = true;
    this.#options.log("warn", "workflow_wall_incomplete", { refused: String(refused) });
  }

  #message(member: Member<Handed>, body: Bytes): void {
    const { kind, id, content } = partsOf(body);
    if (kind === KIND.log) return this.#logLine(jsonOf(content));
    const { kept } = member;
    const job = kept.jobs.get(id);
    if (job === undefined || (kind === KIND.begun) !== (job.begunAt === undefined && kind !== KIND.dropped)) {
      const reason = failure("it broke the protocol");
      return this.#children.kill(member, "something else than the protocol", reason);
    }
    discard(job.frame);
    kept.movedAt = this.#options.monotonic();
    if (kind === KIND.begun) return void (job.begunAt = kept.movedAt);
    kept.jobs.delete(id);
    this.#children.worked();
    if (job.begunAt !== undefined) {
      this.#metrics.count("workflow", kind === KIND.result, kept.movedAt - job.begunAt);
    }
    if (job.isOver) body.fill(0);
    else if (kind === KIND.result) {
      job.isOver = true;
      job.settle.resolve(content);
    } else this.#reject(job, this.#errorOf(kind, id, jsonOf(content)));
    this.#dispatch();
  }

  /** Kills a process that is late with a request, or begins none. @returns the time left, milliseconds */
  #watch(member: Member<Handed>): number {
    const { deadlineMs, monotonic } = this.#options;
    const { jobs, movedAt } = member.kept;
    if (jobs.size === 0) return Infinity;
    const first = [...jobs.values()].find(({ begunAt }) => begunAt !== undefined);
    const due = first?.begunAt === undefined ? movedAt + BEGIN_MS : first.begunAt + deadlineMs;
    if (due > monotonic()) return due - monotonic();
    const [doing, how] = first === undefined
      ? ["beginning a request", `began no request within ${BEGIN_MS} ms`] as const
      : ["working on a request", `took longer than ${deadlineMs} ms`] as const;
    if (first !== undefined) this.#reject(first, new WireError("workflow_timeout", `The workflow ${how}`));
    this.#children.kill(member, doing, failure(`it ${how}`));
    return Infinity;
  }

  /** A process is gone: what had begun is lost, and what had not goes to another one. */
  #gone({ kept }: Member<Handed>, reason: EnclaveError): void {
    const jobs = [...kept.jobs.values()].filter(({ isOver }) => !isOver);
    for (const job of kept.jobs.values()) {
      job.member = undefined;
      if (job.isOver) discard(job.frame);
      else if (job.begunAt !== undefined) this.#reject(job, lost());
    }
    this.#waiting.unshift(...jobs.filter(({ isOver }) => !isOver));
    kept.jobs.clear();
    if (this.#closed) return;
    this.#refuseWaiting();
    if (jobs.length > 0) {
      this.#options.log("warn", "workflow_requests_lost", { reason: reason.message, requests: jobs.length });
    }
    this.#dispatch();
  }

  #errorOf(kind: number, id: number, content: Readonly<Record<string, unknown>>): Error {
    if (kind === KIND.refused) {
      try {
        return new WorkflowError(String(content["code"]), String(content["words"]));
      } catch {
        // A process that was tampered with.
      }
    }
    const { isDevelopment, log } = this.#options;
    log("error", "workflow_threw", {
      request_id: String(id),
      class: String(content["class"]),
      ...(isDevelopment ? { message: String(content["message"]), stack: String(content["stack"]) } : {}),
    });
    return new WireError("internal_error", "The workflow failed; denclavectl client logs says why");
  }

  /** A line of the workflow's. Its level, its event and its fields are whatever the process sent. */
  #logLine({ level, event, fields }: Readonly<Record<string, unknown>>): void {
    // A workflow cannot set the fields of every log line.
    const { time: _time, level: _level, event: _event, ...own } = plainFields(fields);
    // Last, so that no field replaces it.
    this.#options.log(levelOf(level), "workflow", { ...own, workflow_event: String(event) });
  }

  #abandon(job: Job): void {
    this.#reject(job, new EnclaveError("The workflow did not end in time", { code: "abandoned" }));
    if (job.member !== undefined) return job.member.child.post(bytesFrame(KIND.abandon, job.id));
    this.#waiting.splice(this.#waiting.indexOf(job), 1);
  }

  /** Its bytes may still be on their way to a process: they are wiped once that has begun, or is gone. */
  #reject(job: Job, error: Error): void {
    job.isOver = true;
    job.settle.reject(error);
    if (job.member === undefined) discard(job.frame);
  }

  /** Ends the processes, and rejects what waits. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#cancelSweep?.();
    this.#children.close(failure("the service is ending"));
    for (const job of this.#waiting.splice(0)) this.#reject(job, lost());
  }
}

function lost(reason = "The process of the workflow ended while it worked: the request can be repeated") {
  return new WireError("workflow_lost", reason);
}

const unusable = () => lost("The workflow cannot be run; denclavectl client logs says why");

const levelOf = (level: unknown) => LEVELS.find((known) => known === level) ?? "info";
const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];
