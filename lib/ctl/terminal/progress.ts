/**
 * Progress of a long operation: one line on stderr that is overwritten, only on a terminal.
 *
 * @module
 */
import type { CtlIo } from "./printing.ts";

const WIDTH = 24;

/** Shows how many of a number of things are done. `using` it ends the line. */
export class Progress implements Disposable {
  #label: string;
  #total: number;
  #io: Pick<CtlIo, "overwrite" | "stderr">;
  #shown = false;

  constructor(label: string, total: number, io: Pick<CtlIo, "overwrite" | "stderr">) {
    this.#label = label;
    this.#total = total;
    this.#io = io;
  }

  /** Shows the number of completed items. */
  at(done: number): void {
    // For a single item the line would disappear before it can be read.
    if (this.#io.overwrite === undefined || this.#total < 2) return;
    const filled = Math.round((done / this.#total) * WIDTH);
    const bar = "#".repeat(filled) + ".".repeat(WIDTH - filled);
    this.#io.overwrite(`${this.#label} [${bar}] ${done}/${this.#total}`);
    this.#shown = true;
  }

  [Symbol.dispose](): void {
    if (this.#shown) this.#io.stderr("\n");
    this.#shown = false;
  }
}

/** A progress line in megabytes. */
export function megabytes(
  label: string,
  bytes: number,
  io: Pick<CtlIo, "overwrite" | "stderr">,
): Disposable & { at(done: number): void } {
  const total = Math.round(bytes / 1e6);
  const progress = new Progress(`${label}, MB`, total, io);
  let shown = -1;
  return {
    at: (done) => {
      const now = Math.min(total, Math.round(done / 1e6));
      if (now !== shown) progress.at(shown = now);
    },
    [Symbol.dispose]: () => progress[Symbol.dispose](),
  };
}
