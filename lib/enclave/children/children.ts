/**
 * Keeps children of one kind running: starts them, opens them with a first message, replaces those that end, with growing pauses where they
 * end again and again, and kills those that are late. What they work on is their user's affair.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import type { Child, StartChild } from "./child.ts";

/** What is done with children. `T` is what their user keeps for each. */
export interface ChildrenOptions<T> {
  readonly start: StartChild;
  /** Children to keep running. */
  readonly count: number;
  /** Time from the start of a child to its first answer, milliseconds. */
  readonly startMs: number;
  readonly log: Log;
  /** Names of the events in the log. */
  readonly events: { readonly hung: string; readonly lost: string; readonly restart: string };
  /** What is kept for a new child. */
  readonly keep: () => T;
  /** The first frame, which opens it. */
  readonly hello: () => Uint8Array<ArrayBuffer>;
  /** The answer to the first message. @throws when it says that the child cannot be used. */
  readonly opened: (member: Member<T>, body: Uint8Array<ArrayBuffer>) => void;
  /** A child takes work. */
  readonly ready: (member: Member<T>) => void;
  /** Any further message. */
  readonly message: (member: Member<T>, body: Uint8Array<ArrayBuffer>) => void;
  /** It has printed something on stderr. */
  readonly printed?: (member: Member<T>) => void;
  /** A newer child has taken the place of this one: end it with {@link Children.retire} once its work is done. */
  readonly replaced?: (member: Member<T>) => void;
  /** A child is gone, whether it was open or not. */
  readonly gone: (member: Member<T>, reason: EnclaveError) => void;
  /** The error for a child that ended by itself, could not be started, or was not open in time. */
  readonly failure: (how: string, options: FailureOptions) => EnclaveError;
  /** Whether others are started after the first one could not be opened. */
  readonly retryFirst: boolean;
  /** For tests. */
  readonly after?: After | undefined;
}

/** What is known of a child that failed. */
export interface FailureOptions {
  readonly hint?: string;
  readonly cause?: unknown;
  /** The last that it printed on stderr. */
  readonly said?: string;
  /** It was not open in time. */
  readonly isLate?: boolean;
}

/** Children started, killed as late, ended by themselves, and replaced. */
export type Counts = Readonly<Record<"started" | "hung" | "lost" | "replaced", number>>;

/** A child, and what its user keeps for it. */
export interface Member<T> {
  readonly child: Child;
  readonly kept: T;
  state: "starting" | "open" | "replaced" | "gone";
  /** The child that takes its place once it is open. */
  successor?: Member<T> | undefined;
  cancelDeadline: () => void;
}

/** Calls back after some milliseconds; the result cancels it. */
export type After = (ms: number, run: () => void) => () => void;

const afterTimeout: After = (ms, run) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};

/**
 * How long to wait before a child is started again.
 *
 * @param losses children lost since one of them did its work, this one included
 * @returns milliseconds: 0 for the first, then 100, doubling to 10,000
 */
export function restartDelay(losses: number): number {
  return losses <= 1 ? 0 : Math.min(100 * 2 ** (losses - 2), 10_000);
}

/** Children of one kind. */
export class Children<T> {
  readonly after: After;
  #options: ChildrenOptions<T>;
  #members = new Set<Member<T>>();
  #open: readonly Member<T>[] = [];
  /** Cancel the starts that wait for their time. */
  #pauses = new Set<() => void>();
  #losses = 0;
  #lastLoss: EnclaveError | undefined;
  #closed = false;
  /** Whether one was open at some time. */
  hasOpened = false;
  #opening = Promise.withResolvers<void>();
  /** What became of them so far. */
  readonly counts: Record<keyof Counts, number> = { started: 0, hung: 0, lost: 0, replaced: 0 };

  constructor(options: ChildrenOptions<T>) {
    this.#options = options;
    this.after = options.after ?? afterTimeout;
    this.#opening.promise.catch(() => {});
  }

  /** The children that take work, in the order in which they were opened. */
  get open(): readonly Member<T>[] {
    return this.#open;
  }

  #listOpen(): void {
    this.#open = [...this.#members].filter(({ state }) => state === "open");
  }

  /** Process ids of all children. */
  get pids(): readonly number[] {
    return [...this.#members].map(({ child }) => child.pid);
  }

  /** Why the last child was lost; undefined while one is open. */
  get lastLoss(): EnclaveError | undefined {
    return this.open.length === 0 ? this.#lastLoss : undefined;
  }

  /**
   * Starts them.
   *
   * @returns once the first one is open
   * @throws {EnclaveError} the reason why the first one could not be opened; others are still started.
   */
  start(): Promise<void> {
    for (let index = 0; index < this.#options.count; index++) this.#launch();
    return this.#opening.promise;
  }

  #launch(): Member<T> | undefined {
    if (this.#closed) return undefined;
    this.counts.started++;
    let child: Child;
    try {
      child = this.#options.start({
        message: (body) => this.#message(member, body),
        printed: () => this.#options.printed?.(member),
        ended: (how) => {
          const said = member.child.lines.toString();
          this.counts.lost++;
          this.#options.log("error", this.#options.events.lost, { how, said });
          this.#remove(member, this.#options.failure(how, { said }));
        },
      });
    } catch (thrown) {
      this.#lastLoss = this.#options.failure(`cannot start it: ${messageOf(thrown)}`, {
        hint: "The enclave may be out of memory, or LD_PRELOAD is set, with which Deno starts no program.",
        cause: thrown,
      });
      this.#refill();
      return undefined;
    }
    const kept = this.#options.keep();
    const member: Member<T> = { child, kept, state: "starting", cancelDeadline: () => {} };
    this.#members.add(member);
    const { startMs } = this.#options;
    this.setDeadline(member, startMs, () => {
      const late = this.#options.failure(`it was not open after ${startMs} ms`, { isLate: true });
      this.kill(member, "opening", late);
    });
    child.post(this.#options.hello());
    return member;
  }

  #message(member: Member<T>, body: Uint8Array<ArrayBuffer>): void {
    if (member.state !== "starting") return this.#options.message(member, body);
    member.cancelDeadline();
    try {
      this.#options.opened(member, body);
    } catch (thrown) {
      if (!(thrown instanceof EnclaveError)) throw thrown;
      return this.#remove(member, thrown);
    }
    member.state = "open";
    // Last: one that opens later than others that were started after it takes no place of theirs.
    this.#members.delete(member);
    this.#members.add(member);
    this.hasOpened = true;
    this.#opening.resolve();
    const replaced = [...this.#members].filter(({ successor }) => successor === member);
    for (const old of replaced) old.state = "replaced";
    this.#listOpen();
    for (const old of replaced) {
      this.counts.replaced++;
      this.#options.replaced?.(old);
    }
    this.#options.ready(member);
  }

  /** Calls back unless the child is given another deadline, or is gone. */
  setDeadline(member: Member<T>, ms: number, late: () => void): void {
    member.cancelDeadline();
    member.cancelDeadline = this.after(ms, late);
  }

  /** A child has done its work: the pauses between starts begin anew. */
  worked(): void {
    this.#losses = 0;
  }

  /** Starts another child in the place of one that goes on until the other is open. */
  replace(member: Member<T>): void {
    if (member.state === "open" && member.successor === undefined) member.successor = this.#launch();
  }

  /** Ends a child that was replaced, or is lost, and forgets it. */
  retire(member: Member<T>): void {
    member.child.kill();
    member.cancelDeadline();
    member.state = "gone";
    this.#members.delete(member);
    this.#listOpen();
    for (const old of this.#members) if (old.successor === member) old.successor = undefined;
  }

  /**
   * Kills a child that is late.
   *
   * @param doing what it does, for the log
   * @param reason given to whoever waits for it
   */
  kill(member: Member<T>, doing: string, reason: EnclaveError): void {
    this.counts.hung++;
    this.#options.log("error", this.#options.events.hung, { doing, said: member.child.lines.toString() });
    this.#remove(member, reason);
  }

  #remove(member: Member<T>, reason: EnclaveError): void {
    const { state } = member;
    this.retire(member);
    this.#lastLoss = reason;
    if (state !== "replaced") this.#refill();
    this.#options.gone(member, reason);
  }

  /** Starts a child in the place of one that is gone: at once, or after a pause if others were lost before it. */
  #refill(): void {
    if (this.#closed) return;
    this.#losses++;
    const reason = this.#lastLoss;
    if (!this.hasOpened && reason !== undefined) {
      this.#opening.reject(reason);
      if (!this.#options.retryFirst) return;
    }
    // One that was to be replaced is still there, or its successor is.
    const places = [...this.#members].filter((old) => old.state !== "replaced" && !old.successor);
    if (places.length + this.#pauses.size >= this.#options.count) return;
    const delay = restartDelay(this.#losses);
    if (delay === 0) return void this.#launch();
    this.#options.log("warn", this.#options.events.restart, { after_ms: delay, reason: reason?.message });
    const cancel = this.after(delay, () => {
      this.#pauses.delete(cancel);
      this.#launch();
    });
    this.#pauses.add(cancel);
  }

  /** Kills all of them for good. @param reason given to whoever waits for them */
  close(reason: EnclaveError): void {
    this.#closed = true;
    for (const cancel of this.#pauses) cancel();
    for (const member of this.#members) this.#remove(member, reason);
  }
}
