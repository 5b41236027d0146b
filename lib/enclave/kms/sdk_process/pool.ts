/**
 * Keeps SDK processes running and gives each one call at a time, with deadlines. The SDK has no time-outs of its own, so the process of a late
 * call is killed, and another one is started in its place.
 *
 * Only this module retries: a call whose process was lost or hung, or whose connection was lost, is made once more. An SDK process
 * makes each call once (it opens a new client first where the old one's connection is closed), and the SDK itself does not retry.
 *
 * @module
 */
import { type SdkError, sdkError } from "../../../../ffi/errors.ts";
import type { Credentials } from "../../../shared/aws/credentials.ts";
import { callError, type KmsCall, type KmsCallResult } from "../aws_ne/calls.ts";
import type { WarmSessionState } from "../aws_ne/warm_session.ts";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { messageOf } from "../../../shared/errors.ts";
import type { Log } from "../../../shared/log.ts";
import type { Child, StartChild } from "./child.ts";
import {
  type OpenRequest,
  packError,
  printedSuffix,
  type SdkMessage,
  type SdkResponse,
  unpackError,
} from "./protocol.ts";
import { type ConnectionCause, explain, explainLoss, type Printed, saysLost } from "./stderr.ts";
import { chooseProcess, MAX_WAITING_FOR_WARM, restartDelay } from "./schedule.ts";

/** Time limits of each step, milliseconds. */
export interface SdkDeadlines {
  /** Starting a process and opening the SDK in it. */
  readonly startMs: number;
  /** Making a client: a failed TLS handshake takes 10 to 30 s. */
  readonly connectMs: number;
  /** One attempt at a call, on an existing client. */
  readonly callMs: number;
  /** A whole call, including the time that it waits for a process. */
  readonly totalMs: number;
}

/** Options of an {@link SdkPool}. */
export interface SdkPoolOptions {
  readonly start: StartChild;
  readonly open: Omit<OpenRequest, "id" | "op">;
  /** Processes that make calls at the same time. */
  readonly processes: number;
  readonly deadlines: SdkDeadlines;
  /** A process is replaced after making this many clients, since clients cannot be destroyed safely. */
  readonly maxClients: number;
  /** Calls of each kind that may wait for their turn. */
  readonly maxWaiting: Readonly<Record<KmsCall["kind"], number>>;
  readonly log: Log;
  /** Calls back after this many milliseconds; returns the function that cancels it. For tests. */
  readonly after?: (ms: number, run: () => void) => () => void;
}

/** The state of a pool. */
export interface SdkPoolState {
  /** Sessions of the serving processes. */
  readonly sessions: readonly WarmSessionState[];
  /** Processes started so far. */
  readonly started: number;
  /** Processes killed because a call was late. */
  readonly hung: number;
  /** Processes that ended by themselves. */
  readonly lost: number;
  /** Processes replaced because they had made too many clients. */
  readonly replaced: number;
  /** Waiting calls. */
  readonly waiting: number;
}

interface Job {
  readonly region: string;
  readonly fingerprint: string;
  readonly credentials: Credentials;
  readonly call: KmsCall;
  readonly settle: PromiseWithResolvers<KmsCallResult>;
  attempts: number;
  expired: boolean;
}

/** A slot for a process: each has one that serves, and sometimes its successor. */
interface Slot {
  serving: Member | undefined;
  starting: Member | undefined;
  /** Processes lost in this slot since one last answered. */
  losses: number;
  cancelRestart: (() => void) | undefined;
}

interface Member {
  readonly slot: Slot;
  readonly child: Child;
  readonly warm: Set<string>;
  session: WarmSessionState | undefined;
  /** The request that it works on. */
  requestId: number;
  job: Job | undefined;
  isConnecting: boolean;
  /** The SDK has printed that the connection of the current call is lost. */
  isLost: boolean;
  /** Another process has replaced it: it ends after its call. */
  isRetired: boolean;
  cancelDeadline: () => void;
  /** For candidates of {@link chooseProcess}. */
  readonly busyWith: string | undefined;
}

/** How long a process has to answer after its SDK has printed that the connection is lost. Milliseconds. */
const LOST_MS = 200;

function afterTimeout(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** A pool of SDK processes. */
export class SdkPool implements Disposable {
  #options: SdkPoolOptions;
  #after: NonNullable<SdkPoolOptions["after"]>;
  #slots: Slot[];
  /** Replaced processes with a call in progress. */
  #retired = new Set<Member>();
  #queue: Job[] = [];
  #closed = false;
  #nextId = 1;
  #started = 0;
  #hung = 0;
  #lost = 0;
  #replaced = 0;
  #lastLoss: SdkError | undefined;
  #warnedOfBlocking = false;
  #opening: PromiseWithResolvers<void> | undefined;

  constructor(options: SdkPoolOptions) {
    this.#options = options;
    this.#after = options.after ?? afterTimeout;
    this.#slots = Array.from(
      { length: options.processes },
      () => ({ serving: undefined, starting: undefined, losses: 0, cancelRestart: undefined }),
    );
  }

  /**
   * How many calls with the same credentials give every process one: another client is made only if a call
   * waits.
   */
  get callsAtOnce(): number {
    const { length } = this.#slots;
    return length === 1 ? 1 : length + MAX_WAITING_FOR_WARM;
  }

  get state(): SdkPoolState {
    return {
      sessions: this.#slots.flatMap(({ serving }) => serving?.session ?? []),
      started: this.#started,
      hung: this.#hung,
      lost: this.#lost,
      replaced: this.#replaced,
      waiting: this.#queue.length,
    };
  }

  /** Process ids of the children. */
  get pids(): readonly number[] {
    const members = this.#slots.flatMap(({ serving, starting }) => [serving, starting]);
    return [...members, ...this.#retired].flatMap((member) => member?.child.pid ?? []);
  }

  /**
   * Starts the processes. Calls may be made at once: they wait for the first one.
   *
   * @returns once the first one has opened the SDK
   * @throws {SdkError} the first failure, when the SDK cannot be opened.
   */
  async start(): Promise<void> {
    if (this.#closed) throw closedError();
    const opening = Promise.withResolvers<void>();
    this.#opening = opening;
    for (const slot of this.#slots) this.#launch(slot);
    try {
      await opening.promise;
    } finally {
      this.#opening = undefined;
    }
  }

  /**
   * Makes a KMS call. Credentials are borrowed until it is settled.
   *
   * @throws {SdkError} `sdk_busy` when the queue for calls of its kind is full, `kms_timeout` after the deadline, or of the step that failed.
   */
  call(region: string, credentials: Credentials, call: KmsCall): Promise<KmsCallResult> {
    if (this.#closed) return Promise.reject(closedError());
    const limit = this.#options.maxWaiting[call.kind];
    if (this.#queue.filter((job) => job.call.kind === call.kind).length >= limit) {
      return Promise.reject(
        sdkError("sdk_busy", `Cannot call KMS: ${limit} calls of this kind are waiting already`, {
          symbol: "sdk_process",
          hint: "Try again later. More SDK processes (--sdk-processes) make more calls at a time.",
        }),
      );
    }
    const job: Job = {
      region,
      fingerprint: credentials.fingerprint(region),
      credentials: credentials.clone(),
      call,
      settle: Promise.withResolvers<KmsCallResult>(),
      attempts: 0,
      expired: false,
    };
    const cancel = this.#after(this.#options.deadlines.totalMs, () => this.#expire(job));
    this.#queue.push(job);
    this.#dispatch();
    return job.settle.promise.finally(cancel);
  }

  /** Gives waiting calls to processes that are idle. */
  #dispatch(): void {
    const waiting = new Map<string, number>();
    for (const job of [...this.#queue]) {
      const ahead = waiting.get(job.fingerprint) ?? 0;
      const serving = this.#slots.flatMap((slot) => slot.serving ?? []);
      const chosen = chooseProcess(job.fingerprint, serving, ahead);
      if (chosen === undefined) {
        waiting.set(job.fingerprint, ahead + 1);
        continue;
      }
      this.#queue.splice(this.#queue.indexOf(job), 1);
      this.#assign(chosen, job);
    }
  }

  #assign(member: Member, job: Job): void {
    job.attempts++;
    member.job = job;
    member.isLost = false;
    member.requestId = this.#nextId++;
    this.#setDeadline(member, this.#options.deadlines.callMs);
    const copy = (secret: SecretBytes) => new Uint8Array(secret.expose());
    const { credentials: { accessKeyId, secretAccessKey, sessionToken }, region, call } = job;
    member.child.post({
      id: member.requestId,
      op: "call",
      region,
      credentials: {
        accessKeyId: copy(accessKeyId),
        secretAccessKey: copy(secretAccessKey),
        sessionToken: copy(sessionToken),
      },
      call,
    });
  }

  #setDeadline(member: Member, ms: number): void {
    member.cancelDeadline();
    member.cancelDeadline = this.#after(ms, () => this.#late(member));
  }

  // Messages from a process.

  #launch(slot: Slot): void {
    slot.cancelRestart?.();
    slot.cancelRestart = undefined;
    this.#started++;
    let child: Child;
    try {
      child = this.#options.start({
        message: (message) => this.#arrived(member, message),
        printed: () => this.#printed(member),
        ended: (how) => this.#ended(member, how),
      });
    } catch (thrown) {
      return this.#failed(
        slot,
        sdkError("sdk_process", `Cannot start an SDK process: ${messageOf(thrown)}`, {
          symbol: "sdk_process",
          hint:
            "The enclave may be out of memory (run-enclave --memory), or LD_PRELOAD is set, with which Deno starts no program.",
          cause: thrown,
        }),
      );
    }
    const member: Member = {
      slot,
      child,
      warm: new Set(),
      session: undefined,
      requestId: this.#nextId++,
      job: undefined,
      isConnecting: false,
      isLost: false,
      isRetired: false,
      cancelDeadline: () => {},
      get busyWith() {
        return this.job?.fingerprint;
      },
    };
    slot.starting = member;
    this.#setDeadline(member, this.#options.deadlines.startMs);
    child.post({ ...this.#options.open, id: member.requestId, op: "open" });
  }

  #arrived(member: Member, message: SdkMessage): void {
    if (message.id !== member.requestId) {
      if ("ok" in message && message.ok) message.plaintext?.fill(0);
      return;
    }
    if ("phase" in message) {
      member.isConnecting = message.phase === "connecting";
      member.isLost = false;
      const { connectMs, callMs } = this.#options.deadlines;
      this.#setDeadline(member, member.isConnecting ? connectMs : callMs);
      // The SDK's lines may arrive before its process's message.
      this.#printed(member);
      // Waiting calls may now use this connection, or need another process.
      return this.#dispatch();
    }
    member.cancelDeadline();
    if (message.state !== undefined) this.#noteState(member, message.state);
    if (member.slot.starting === member) return this.#opened(member, message);
    this.#answered(member, message);
  }

  /** Keeps a process's state. The SDK's own functions can hang and crash, so their first use is a warning. */
  #noteState(member: Member, state: WarmSessionState): void {
    member.session = state;
    const { blockingBecause } = state;
    if (blockingBecause === undefined || this.#warnedOfBlocking) return;
    this.#warnedOfBlocking = true;
    this.#options.log("warn", "sdk_blocking_calls", { because: blockingBecause });
  }

  /** A process has opened the SDK, or failed to. */
  #opened(member: Member, response: SdkResponse): void {
    const { slot } = member;
    slot.starting = undefined;
    if (!response.ok) {
      const error = unpackError(response.error, { lines: member.child.printed(), cause: undefined });
      member.child.kill();
      return this.#failed(slot, error);
    }
    const old = slot.serving;
    slot.serving = member;
    if (old !== undefined) this.#retire(old);
    this.#opening?.resolve();
    this.#dispatch();
  }

  #retire(member: Member): void {
    this.#replaced++;
    member.isRetired = true;
    this.#options.log("info", "sdk_process_replaced", { clients_made: member.session?.clientsMade });
    if (member.job === undefined) return member.child.kill();
    this.#retired.add(member);
  }

  #answered(member: Member, response: SdkResponse): void {
    const { job, slot } = member;
    if (job === undefined) return;
    member.isLost = !response.ok && response.connectionLost === true;
    const printed = this.#explain(member, job);
    member.job = undefined;
    member.isConnecting = false;
    slot.losses = 0;
    if (response.ok) this.#succeed(job, response);
    else {
      const error = unpackError(response.error, printed);
      if (response.connectionLost) {
        member.warm.delete(job.fingerprint);
        this.#retryOrFail(job, error);
      } else this.#fail(job, error);
    }
    if (response.ok || response.error.kms !== undefined) this.#noteWarm(member, job.fingerprint);
    if (member.isRetired) {
      this.#retired.delete(member);
      member.child.kill();
    } else if ((member.session?.clientsMade ?? 0) >= this.#options.maxClients) this.#replace(slot);
    this.#dispatch();
  }

  /** Remembers which credentials a process has a client for; the oldest are dropped first, as in the process. */
  #noteWarm({ warm }: Member, fingerprint: string): void {
    warm.delete(fingerprint);
    warm.add(fingerprint);
    const [oldest] = warm;
    if (warm.size > this.#options.open.maxWarm && oldest !== undefined) warm.delete(oldest);
  }

  /** Starts a successor, which takes over when it is ready. */
  #replace(slot: Slot): void {
    if (this.#closed || slot.starting !== undefined || slot.cancelRestart !== undefined) return;
    this.#launch(slot);
  }

  // Failures.

  /**
   * After it has printed that a connection is lost, the SDK may wait for ever: its process gets little time.
   */
  #printed(member: Member): void {
    if (member.job === undefined || member.isLost) return;
    if (!saysLost(member.child.printed(), member.isConnecting)) return;
    member.isLost = true;
    this.#setDeadline(member, LOST_MS);
  }

  /**
   * What the SDK printed. It explains a failure only where a connection is being made or was lost, since
   * replaced clients also print.
   */
  #explain({ child, isConnecting, isLost }: Member, job: Job): Printed {
    const lines = child.printed();
    const proxy = { port: this.#options.open.proxyPort, region: job.region };
    if (isConnecting) return explain(lines, proxy);
    return isLost ? explainLoss(lines, proxy) : { lines, cause: undefined };
  }

  #late(member: Member): void {
    const { job, isConnecting, isLost } = member;
    const { connectMs, callMs, startMs } = this.#options.deadlines;
    const lines = member.child.printed();
    const doing = job === undefined ? "opening the SDK" : isConnecting ? "connecting" : job.call.kind;
    this.#hung++;
    this.#options.log("error", "sdk_process_hung", { doing, said: lines });
    member.child.kill();
    const limit = job === undefined ? startMs : isConnecting ? connectMs : callMs;
    const printed = job === undefined ? undefined : this.#explain(member, job);
    const error = job !== undefined && isLost
      ? unpackError(packError(connectionLost(job, isConnecting)), printed)
      : timeout(`${doing} took longer than ${limit} ms`, printed);
    this.#gone(member, error);
  }

  #ended(member: Member, how: string): void {
    const said = member.child.printed();
    this.#lost++;
    this.#options.log("error", "sdk_process_lost", { how, said });
    const words = said === "" ? "" : ` (it said: ${said})`;
    this.#gone(
      member,
      sdkError("sdk_process", `An SDK process ended: ${how}${words}`, {
        symbol: "sdk_process",
        hint:
          "Another one is started. If this repeats, look at its last words in the log (sdk_process_lost).",
      }),
    );
  }

  /** A process has ended: its call is repeated in another one, and a replacement is started. */
  #gone(member: Member, error: SdkError): void {
    const { slot, job } = member;
    member.cancelDeadline();
    member.job = undefined;
    this.#retired.delete(member);
    if (slot.starting === member) {
      slot.starting = undefined;
      this.#failed(slot, error);
    } else if (slot.serving === member) {
      slot.serving = undefined;
      this.#failed(slot, error);
    }
    if (job !== undefined) this.#retryOrFail(job, error);
    this.#dispatch();
  }

  #failed(slot: Slot, error: SdkError): void {
    this.#lastLoss = error;
    if (this.#opening !== undefined) {
      for (const job of this.#queue.splice(0)) this.#fail(job, error);
      return this.#opening.reject(error);
    }
    if (this.#closed || slot.starting !== undefined) return;
    slot.losses++;
    const delay = restartDelay(slot.losses);
    if (delay === 0) return this.#launch(slot);
    this.#options.log("warn", "sdk_process_restart", { after_ms: delay, reason: error.message });
    slot.cancelRestart?.();
    slot.cancelRestart = this.#after(delay, () => this.#launch(slot));
  }

  #retryOrFail(job: Job, error: SdkError): void {
    if (job.attempts > 1 || job.expired || this.#closed) return this.#fail(job, error);
    this.#queue.unshift(job);
  }

  #expire(job: Job): void {
    job.expired = true;
    const { totalMs } = this.#options.deadlines;
    const member = this.#slots.find(({ serving }) => serving?.job === job)?.serving;
    const printed = member === undefined ? undefined : this.#explain(member, job);
    const serves = this.#slots.some(({ serving }) => serving !== undefined);
    const error = serves || this.#lastLoss === undefined
      ? timeout(`KMS did not answer within ${totalMs} ms`, printed)
      : timeout(`no SDK process is running after ${totalMs} ms; the last one: ${this.#lastLoss.message}`, {
        lines: "",
        cause: NO_PROCESS,
      });
    job.settle.reject(error);
    const index = this.#queue.indexOf(job);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    job.credentials[Symbol.dispose]();
  }

  #fail(job: Job, error: SdkError): void {
    job.settle.reject(error);
    job.credentials[Symbol.dispose]();
  }

  #succeed(job: Job, response: SdkResponse & { readonly ok: true }): void {
    const plaintext = new SecretBytes(response.plaintext ?? new Uint8Array(0));
    const { ciphertext } = response;
    job.settle.resolve({ plaintext, ...(ciphertext === undefined ? {} : { ciphertext }) });
    // Its caller no longer waits.
    if (job.expired) plaintext[Symbol.dispose]();
    job.credentials[Symbol.dispose]();
  }

  /** Ends the processes, and rejects waiting calls. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    const members = this.#slots.flatMap(({ serving, starting }) => [serving, starting]);
    for (const member of [...members, ...this.#retired]) {
      if (member === undefined) continue;
      member.cancelDeadline();
      member.child.kill();
      if (member.job !== undefined) this.#fail(member.job, closedError());
    }
    for (const slot of this.#slots) {
      slot.cancelRestart?.();
      slot.serving = slot.starting = undefined;
    }
    this.#retired.clear();
    for (const job of this.#queue.splice(0)) this.#fail(job, closedError());
    this.#opening?.reject(closedError());
  }
}

function closedError(): SdkError {
  return sdkError("sdk_process", "Cannot call KMS: the service is shutting down", { symbol: "sdk_process" });
}

/** What the SDK would have returned, had it not hung. */
function connectionLost({ call }: Job, isConnecting: boolean): SdkError {
  return isConnecting
    ? sdkError("sdk_kms_client", "Cannot connect to KMS through the parent's vsock-proxy", {
      symbol: "aws_nitro_enclaves_kms_client_new",
    })
    : callError(call, undefined, { symbol: "aws_nitro_enclaves_rest_client_request_blocking" });
}

const NO_PROCESS: ConnectionCause = {
  words: "no SDK process is running",
  hint:
    "The log has the last words of each (sdk_process_lost, sdk_process_restart). The enclave may be out of memory " +
    "(run-enclave --memory).",
};

function timeout(why: string, printed: Printed | undefined): SdkError {
  return sdkError("kms_timeout", `Cannot call KMS: ${why}${printedSuffix(printed)}`, {
    symbol: "sdk_process",
    connection: printed?.cause?.words,
    hint: printed?.cause?.hint ??
      "Check that the parent's vsock-proxy runs and reaches KMS; the call can be repeated.",
  });
}
