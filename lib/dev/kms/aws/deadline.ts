/**
 * A deadline as an abort signal.
 *
 * @module
 */

/** A running deadline. Disposing stops its timer. */
export class Deadline implements Disposable {
  #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout>;
  #outer: AbortSignal;
  #follow = () => this.#controller.abort();
  #endsAt: number;
  #isOver = false;

  /**
   * Starts the timer.
   *
   * @param ms milliseconds from now
   * @param outer aborts earlier
   */
  constructor(ms: number, outer: AbortSignal) {
    this.#endsAt = performance.now() + ms;
    this.#outer = outer;
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#controller.abort();
    }, ms);
    outer.addEventListener("abort", this.#follow);
    if (outer.aborted) this.#follow();
  }

  /** Aborted when the time is over, or by the outer signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the deadline has passed. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Remaining milliseconds, 0 or more. */
  get remainingMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#follow);
  }
}

/** Sleeps, or ends early without an error when the signal aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  if (signal.aborted) resolve();
  return promise.finally(() => clearTimeout(timer));
}
