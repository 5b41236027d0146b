/**
 * How long `up` waits before it tries again, and when an enclave counts as hung. Restarts destroy keys, so
 * they are rare.
 *
 * @module
 */
import type { UpLimits } from "./config.ts";

type PauseLimits = Pick<UpLimits, "firstPauseMs" | "longestPauseMs" | "steadyMs">;

/** Pauses that double, up to a longest one. After some time in health they begin anew. */
export class Pauses {
  #limits: PauseLimits;
  #attempts = 0;
  #servingSince: number | undefined;

  constructor(limits: PauseLimits) {
    this.#limits = limits;
  }

  /** The enclave serves. @param now monotonic, milliseconds */
  serving(now: number): void {
    this.#servingSince = now;
  }

  /**
   * The pause after an enclave that served: none the first time, so that clients wait no longer than needed.
   */
  afterServing(now: number): number {
    if (this.#servingSince !== undefined && now - this.#servingSince >= this.#limits.steadyMs) {
      this.#attempts = 0;
    }
    this.#servingSince = undefined;
    return this.#attempts++ === 0 ? 0 : this.#length(this.#attempts - 1);
  }

  /** The pause after an attempt that failed. */
  afterFailure(): number {
    this.#servingSince = undefined;
    this.#attempts = Math.max(1, this.#attempts) + 1;
    return this.#length(this.#attempts - 1);
  }

  #length(attempt: number): number {
    const { firstPauseMs, longestPauseMs } = this.#limits;
    return Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(attempt - 1, 32));
  }
}

const MIN_MISSES = 3;
const MIN_SILENCE_MS = 15_000;

/** Counts questions about health that were not answered. Every answer counts as life, `busy` too. */
export class Misses {
  #count = 0;
  #lastAnswer: number;

  /** @param now monotonic, milliseconds */
  constructor(now: number) {
    this.#lastAnswer = now;
  }

  answered(now: number): void {
    this.#count = 0;
    this.#lastAnswer = now;
  }

  /** @returns whether the enclave counts as hung: three misses, over 15 seconds */
  missed(now: number): boolean {
    return ++this.#count >= MIN_MISSES && now - this.#lastAnswer >= MIN_SILENCE_MS;
  }
}

/** Lets one enclave at a time be restarted on purpose, so that the others serve meanwhile. */
export class Turn {
  #holder: string | undefined;

  /** Whether this enclave has the turn now. */
  take(name: string): boolean {
    this.#holder ??= name;
    return this.#holder === name;
  }

  /** Gives it back, if this enclave has it. */
  give(name: string): void {
    if (this.#holder === name) this.#holder = undefined;
  }
}
