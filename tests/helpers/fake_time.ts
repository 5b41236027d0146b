/**
 * Time that passes when a test says so: waits end in order, and take none of the test's own time.
 *
 * @module
 */

/** A clock whose waits are driven. */
export class FakeTime {
  #now = 0;
  #waits: { readonly at: number; readonly end: () => void }[] = [];

  /** Milliseconds. */
  readonly now = (): number => this.#now;

  /** Resolves when this time has passed, or when the signal is aborted. */
  readonly after = (ms: number, signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const wait = { at: this.#now + ms, end: resolve };
    this.#waits.push(wait);
    signal.addEventListener("abort", () => {
      this.#waits = this.#waits.filter((other) => other !== wait);
      resolve();
    });
    return promise;
  };

  /** Lets so much time pass, ending each wait at its moment. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const [next] = this.#waits.toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.#waits = this.#waits.filter((other) => other !== next);
      this.#now = next.at;
      next.end();
    }
    this.#now = end;
  }
}

const TURNS = 200;

/** Lets what can go on do so, until it waits for something: of fakes that is a promise of this process. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await Promise.resolve();
}
