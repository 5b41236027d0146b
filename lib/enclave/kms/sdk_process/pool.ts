/**
 * Keeps SDK processes running and gives each one call at a time, with deadlines. The SDK has no time-outs of its own, so the process of a late
 * call is killed, and another one is started in its place.
 *
 * Only this module retries: a call whose process was lost or hung, or whose connection was lost, is made once more. An SDK process
 * makes each call once (it opens a new client first where the old one's connection is closed), and the SDK itself does not retry.
 *
 * @module
 */
import { decode } from "cborg";
import { type SdkError, sdkError } from "../../../../ffi/errors.ts";
import type { Credentials } from "../../../shared/aws/credentials.ts";
import { REQUEST_SYMBOL } from "../aws_ne/attested_request.ts";
import { callError, type KmsCall, type KmsCallResult } from "../aws_ne/calls.ts";
import type { WarmSessionState } from "../aws_ne/warm_session.ts";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import type { EnclaveError } from "../../../shared/errors.ts";
import type { Log } from "../../../shared/log.ts";
import type { StartChild } from "../../children/child.ts";
import { type After, Children, type Counts, type Member } from "../../children/children.ts";
import {
  frameOf,
  type OpenRequest,
  printedSuffix,
  type SdkMessage,
  type SdkResponse,
  unpackError,
} from "./protocol.ts";
import { type ConnectionCause, explain, explainLoss, type Printed, saysLost } from "./stderr.ts";
import { chooseProcess, MAX_WAITING_FOR_WARM } from "./schedule.ts";

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
  /** For tests. */
  readonly after?: After | undefined;
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

/** What is kept for a process. */
class SdkProcess {
  readonly warm = new Set<string>();
  session: WarmSessionState | undefined;
  /** The request that it works on. */
  requestId = 0;
  job: Job | undefined;
  isConnecting = false;
  /** The SDK has printed that the connection of the current call is lost. */
  isLost = false;
}

type SdkMember = Member<SdkProcess>;

/** How long a process has to answer after its SDK has printed that the connection is lost. Milliseconds. */
const LOST_MS = 200;
/** How long what the SDK printed before a failure may arrive after the failure. Milliseconds. */
const PRINTED_MS = 10;

function messageIn(body: Uint8Array<ArrayBuffer>): SdkMessage {
  const message = decode(body) as SdkMessage;
  body.fill(0);
  return message;
}

/** A pool of SDK processes. */
export class SdkPool implements Disposable {
  #options: SdkPoolOptions;
  #children: Children<SdkProcess>;
  #queue: Job[] = [];
  #closed = false;
  #nextId = 1;
  #warnedOfBlocking = false;

  constructor(options: SdkPoolOptions) {
    this.#options = options;
    this.#children = new Children<SdkProcess>({
      start: options.start,
      count: options.processes,
      startMs: options.deadlines.startMs,
      log: options.log,
      events: { hung: "sdk_process_hung", lost: "sdk_process_lost", restart: "sdk_process_restart" },
      keep: () => new SdkProcess(),
      hello: () => frameOf({ ...options.open, id: 0, op: "open" }),
      opened: (member, body) => {
        const message = messageIn(body);
        if (!("ok" in message)) return;
        this.#noteState(member, message.state);
        if (message.ok) return;
        throw unpackError(message.error, { lines: member.child.lines.toString(), cause: undefined });
      },
      ready: () => this.#dispatch(),
      message: (member, body) => this.#arrived(member, messageIn(body)),
      printed: (member) => this.#printed(member),
      replaced: (member) => this.#retireIdle(member),
      gone: (member, reason) => this.#gone(member, reason as SdkError),
      failure: (how, { hint, said = "", isLate }) =>
        isLate
          ? timeout(`opening the SDK took longer than ${options.deadlines.startMs} ms`, undefined)
          : sdkError("sdk_process", `An SDK process ended: ${how}${said && ` (it said: ${said})`}`, {
            symbol: "sdk_process",
            hint: hint ??
              "Another one is started. If this repeats, look at its last words in the log (sdk_process_lost).",
          }),
      retryFirst: false,
      after: options.after,
    });
  }

  /**
   * How many calls with the same credentials give every process one: another client is made only if a call
   * waits.
   */
  get callsAtOnce(): number {
    const { processes } = this.#options;
    return processes === 1 ? 1 : processes + MAX_WAITING_FOR_WARM;
  }

  /** The sessions of the processes that serve, and how many calls wait. */
  get state(): Counts & { readonly sessions: readonly WarmSessionState[]; readonly waiting: number } {
    return {
      sessions: this.#children.open.flatMap(({ kept }) => kept.session ?? []),
      ...this.#children.counts,
      waiting: this.#queue.length,
    };
  }

  /** Process ids of the children. */
  get pids(): readonly number[] {
    return this.#children.pids;
  }

  /**
   * Starts the processes. Calls may be made at once: they wait for the first one.
   *
   * @returns once the first one has opened the SDK
   * @throws {SdkError} with the first failure, when the SDK cannot be opened.
   */
  start(): Promise<void> {
    return this.#closed ? Promise.reject(closedError()) : this.#children.start();
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
      const hint = "Try again later. More SDK processes (--sdk-processes) make more calls at a time.";
      const message = `Cannot call KMS: ${limit} calls of this kind are waiting already`;
      return Promise.reject(sdkError("sdk_busy", message, { symbol: "sdk_process", hint }));
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
    const cancel = this.#children.after(this.#options.deadlines.totalMs, () => this.#expire(job));
    this.#queue.push(job);
    this.#dispatch();
    return job.settle.promise.finally(() => {
      cancel();
      job.credentials[Symbol.dispose]();
    });
  }

  /** Gives waiting calls to processes that are idle. */
  #dispatch(): void {
    const waiting = new Map<string, number>();
    for (const job of [...this.#queue]) {
      const ahead = waiting.get(job.fingerprint) ?? 0;
      const candidates = this.#children.open.map((member) => ({
        member,
        ...member.kept,
        busyWith: member.kept.job?.fingerprint,
      }));
      const chosen = chooseProcess(job.fingerprint, candidates, ahead)?.member;
      if (chosen === undefined) {
        waiting.set(job.fingerprint, ahead + 1);
        continue;
      }
      this.#queue.splice(this.#queue.indexOf(job), 1);
      this.#assign(chosen, job);
    }
  }

  #assign(member: SdkMember, job: Job): void {
    const { kept } = member;
    job.attempts++;
    kept.job = job;
    kept.isLost = false;
    kept.requestId = this.#nextId++;
    member.child.lines.clear();
    this.#limit(member, this.#options.deadlines.callMs);
    const { region, call } = job;
    // Borrowed: the frame has a copy of them, which is wiped once it was sent.
    const credentials = job.credentials.expose();
    member.child.post(frameOf({ id: kept.requestId, op: "call", region, credentials, call }));
  }

  #limit(member: SdkMember, ms: number): void {
    this.#children.setDeadline(member, ms, () => this.#late(member));
  }

  // Messages from a process.

  #arrived(member: SdkMember, message: SdkMessage): void {
    const { kept } = member;
    if (message.id !== kept.requestId) {
      if ("ok" in message && message.ok) message.plaintext?.fill(0);
      return;
    }
    if ("phase" in message) {
      kept.isConnecting = message.phase === "connecting";
      kept.isLost = false;
      const { connectMs, callMs } = this.#options.deadlines;
      this.#limit(member, kept.isConnecting ? connectMs : callMs);
      // The SDK's words may arrive before its process's message.
      this.#printed(member);
      // Waiting calls may now use this connection, or need another process.
      return this.#dispatch();
    }
    member.cancelDeadline();
    this.#noteState(member, message.state);
    if (message.ok || message.error.kms !== undefined) return this.#answered(member, message);
    this.#children.after(PRINTED_MS, () => {
      if (message.id !== kept.requestId) return;
      // Set by what was printed meanwhile.
      member.cancelDeadline();
      this.#answered(member, message);
    });
  }

  /** Keeps a process's state. The SDK's own functions can hang and crash, so their first use is a warning. */
  #noteState({ kept }: SdkMember, state: WarmSessionState | undefined): void {
    kept.session = state ?? kept.session;
    const because = kept.session?.blockingBecause;
    if (because === undefined || this.#warnedOfBlocking) return;
    this.#warnedOfBlocking = true;
    this.#options.log("warn", "sdk_blocking_calls", { because });
  }

  #answered(member: SdkMember, response: SdkResponse): void {
    const { kept } = member;
    const { job } = kept;
    if (job === undefined) return;
    kept.isLost = !response.ok && response.error.isLost === true;
    const printed = this.#explain(member, job);
    kept.job = undefined;
    kept.isConnecting = false;
    this.#children.worked();
    if (response.ok) this.#succeed(job, response);
    else if (response.error.isLost) {
      kept.warm.delete(job.fingerprint);
      this.#retryOrFail(job, unpackError(response.error, printed));
    } else job.settle.reject(unpackError(response.error, printed));
    if (response.ok || response.error.kms !== undefined) this.#noteWarm(kept, job.fingerprint);
    if (member.state === "replaced") this.#children.retire(member);
    else if ((kept.session?.clientsMade ?? 0) >= this.#options.maxClients) this.#children.replace(member);
    this.#dispatch();
  }

  /** Another process takes the calls of this one, which ends after its own. */
  #retireIdle(member: SdkMember): void {
    this.#options.log("info", "sdk_process_replaced", { clients_made: member.kept.session?.clientsMade });
    if (member.kept.job === undefined) this.#children.retire(member);
  }

  /** Remembers which credentials a process has a client for; the oldest are dropped first, as in the process. */
  #noteWarm({ warm }: SdkProcess, fingerprint: string): void {
    warm.delete(fingerprint);
    warm.add(fingerprint);
    const [oldest] = warm;
    if (warm.size > this.#options.open.maxWarm && oldest !== undefined) warm.delete(oldest);
  }

  // Failures.

  /**
   * After it has printed that a connection is lost, the SDK may wait for ever: its process gets little time.
   */
  #printed(member: SdkMember): void {
    const { kept, child } = member;
    if (kept.job === undefined || kept.isLost) return;
    if (!saysLost(child.lines.toString(), kept.isConnecting)) return;
    kept.isLost = true;
    this.#limit(member, LOST_MS);
  }

  /**
   * What the SDK printed. It explains a failure only where a connection is being made or was lost, since
   * replaced clients also print.
   */
  #explain({ child, kept: { isConnecting, isLost } }: SdkMember, job: Job): Printed {
    const lines = child.lines.toString();
    const proxy = { port: this.#options.open.proxyPort, region: job.region };
    if (isConnecting) return explain(lines, proxy);
    return isLost ? explainLoss(lines, proxy) : { lines, cause: undefined };
  }

  #late(member: SdkMember): void {
    const { job, isConnecting, isLost } = member.kept;
    if (job === undefined) return;
    const { connectMs, callMs } = this.#options.deadlines;
    const doing = isConnecting ? "connecting" : job.call.kind;
    const printed = this.#explain(member, job);
    const error = isLost
      ? unpackError(connectionLost(job, isConnecting), printed)
      : timeout(`${doing} took longer than ${isConnecting ? connectMs : callMs} ms`, printed);
    this.#children.kill(member, doing, error);
  }

  /** A process has ended: its call is repeated in another one. */
  #gone({ kept }: SdkMember, error: EnclaveError): void {
    const { job } = kept;
    kept.job = undefined;
    if (job !== undefined) this.#retryOrFail(job, error);
    // The service ends where the SDK could not be opened.
    if (!this.#children.hasOpened) this.#failWaiting(error);
    this.#dispatch();
  }

  #retryOrFail(job: Job, error: EnclaveError): void {
    if (job.attempts > 1 || job.expired || this.#closed) return job.settle.reject(error);
    this.#queue.unshift(job);
  }

  #expire(job: Job): void {
    job.expired = true;
    const { totalMs } = this.#options.deadlines;
    const member = this.#children.open.find(({ kept }) => kept.job === job);
    const printed = member === undefined ? undefined : this.#explain(member, job);
    const { lastLoss } = this.#children;
    const lost = `no SDK process is running after ${totalMs} ms; the last one: ${lastLoss?.message}`;
    job.settle.reject(
      lastLoss === undefined
        ? timeout(`KMS did not answer within ${totalMs} ms`, printed)
        : timeout(lost, { lines: "", cause: NO_PROCESS }),
    );
    this.#queue = this.#queue.filter((waiting) => waiting !== job);
  }

  #failWaiting(error: EnclaveError): void {
    for (const { settle } of this.#queue.splice(0)) settle.reject(error);
  }

  #succeed(job: Job, response: SdkResponse & { readonly ok: true }): void {
    const plaintext = new SecretBytes(response.plaintext ?? new Uint8Array(0));
    job.settle.resolve({ plaintext, ciphertext: response.ciphertext });
    // Its caller no longer waits.
    if (job.expired) plaintext[Symbol.dispose]();
  }

  /** Ends the processes, and rejects waiting calls. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#failWaiting(closedError());
    this.#children.close(closedError());
  }
}

function closedError(): SdkError {
  return sdkError("sdk_process", "Cannot call KMS: the service is shutting down", { symbol: "sdk_process" });
}

/** What the SDK would have returned, had it not hung. */
function connectionLost({ call }: Job, isConnecting: boolean): SdkError {
  if (!isConnecting) return callError(call, undefined, { symbol: REQUEST_SYMBOL });
  const symbol = "aws_nitro_enclaves_kms_client_new";
  return sdkError("sdk_kms_client", "Cannot connect to KMS through the parent's vsock-proxy", { symbol });
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
