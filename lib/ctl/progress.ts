/**
 * Progress of a long operation: one line on stderr that is overwritten, only on a terminal.
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

  /** Shows the number of completed items. */
  at(done: number): void {
    // For a single item the line would disappear before it can be read.
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
