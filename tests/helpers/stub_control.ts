/**
 * Controls stand-ins that live in another process: through a file that they read at each call, and a file
 * that they write their calls to.
 *
 * @module
 */

import { until } from "./deadline.ts";

/** Modes of tests/native/stub.h. */
export const MODE = {
  fail: 1,
  hang: 2,
  abort: 3,
  segfault: 4,
  closed: 5,
  silent: 6,
  slow: 7,
  layout: 8,
  shifted: 9,
  envelope: 10,
  noEnvelope: 11,
  tls: 12,
  refused: 13,
  dns: 14,
  noAnswer: 15,
  refusedHang: 16,
  disconnected: 17,
  reset: 18,
  expired: 19,
  answer: 20,
} as const;

/** A script and a log for the stand-ins of other processes. */
export class StubControl implements Disposable {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;

  constructor(directory: string = Deno.makeTempDirSync({ prefix: "denclave-stub-" })) {
    this.directory = directory;
    this.env = { STUB_CONTROL: `${directory}/control`, STUB_LOG: `${directory}/log` };
  }

  /** The one whose script is in this file: another process made it, and removes it. */
  static at(controlFile: string): StubControl {
    return new StubControl(controlFile.replace(/\/control$/, ""));
  }

  /**
   * Replaces the script. Each line: symbol, mode, successful calls that go first; plus 100 to the mode for
   * every time, plus 200 by chance (`after` in 1,000).
   */
  script(...lines: readonly (readonly [symbol: string, mode: number, after?: number])[]): void {
    const text = lines.map(([symbol, mode, after = 0]) => `${symbol} ${mode} ${after}\n`).join("");
    // Renamed into place, so that no half-written script is read.
    Deno.writeTextFileSync(`${this.directory}/control.new`, text);
    Deno.renameSync(`${this.directory}/control.new`, `${this.directory}/control`);
  }

  /** The lines of the log: process, symbol, objects that were alive. */
  #lines(): readonly string[][] {
    try {
      const text = Deno.readTextFileSync(`${this.directory}/log`);
      return text.split("\n").filter((line) => line !== "").map((line) => line.split(" "));
    } catch (thrown) {
      if (thrown instanceof Deno.errors.NotFound) return [];
      throw thrown;
    }
  }

  /** The names of the calls, of all processes, in order. */
  calls(): string[] {
    return this.#lines().map(([, symbol = ""]) => symbol);
  }

  /** Empties the log. */
  forget(): void {
    Deno.writeTextFileSync(`${this.directory}/log`, "");
  }

  /**
   * How many objects, keys of AWS-LC included, were alive at each process's last call of C. By process id.
   */
  live(): ReadonlyMap<number, number> {
    return new Map(this.#lines().map(([pid, , live]) => [Number(pid), Number(live)]));
  }

  /** How often a symbol was called. */
  count(symbol: string): number {
    return this.calls().filter((call) => call === symbol).length;
  }

  /** Waits until a symbol was called so often. @throws after ten seconds. */
  called(symbol: string, times = 1): Promise<void> {
    return until(`${symbol}, ${times} times`, () => this.count(symbol) >= times, 10_000);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}
