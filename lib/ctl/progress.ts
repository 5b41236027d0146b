/**
 * How far something is that takes long: one line on stderr that is written over, on a terminal alone.
 *
 * @module
 */

/** Where a progress line goes. */
export interface ProgressOutput {
  readonly isTerminal: boolean;
  readonly write: (text: string) => void;
}

const WIDTH = 24;

/** Shows how many of a number of things are done. `using` it ends the line. */
export class Progress implements Disposable {
  #label: string;
  #total: number;
  #output: ProgressOutput;
  #shown = false;

  constructor(label: string, total: number, output: ProgressOutput) {
    this.#label = label;
    this.#total = total;
    this.#output = output;
  }

  /** So many are done. */
  at(done: number): void {
    // For one thing a line would be gone before it is read.
    if (!this.#output.isTerminal || this.#total < 2) return;
    const filled = Math.round((done / this.#total) * WIDTH);
    const bar = "#".repeat(filled) + ".".repeat(WIDTH - filled);
    this.#output.write(`\r${this.#label} [${bar}] ${done}/${this.#total}`);
    this.#shown = true;
  }

  [Symbol.dispose](): void {
    if (this.#shown) this.#output.write("\n");
    this.#shown = false;
  }
}
