/**
 * A report of steps: aligned text for people, JSON for scripts.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";

/** The result of one step. */
interface StepResult {
  readonly section: string;
  readonly step: string;
  readonly ok: boolean;
  readonly ms: number;
  /** What was seen. */
  readonly seen: string;
}

const GREEN = "\x1b[32m";
const RED = "\x1b[31m";
const BOLD = "\x1b[1m";
const RESET = "\x1b[0m";

/** Runs steps and keeps their results. */
export class Report {
  readonly results: StepResult[] = [];
  #onStep: (result: StepResult) => void;
  #section = "";

  constructor(onStep: (result: StepResult) => void = () => {}) {
    this.#onStep = onStep;
  }

  /** The steps that follow belong to this part. */
  section(name: string): void {
    this.#section = name;
  }

  get ok(): boolean {
    return this.results.every((result) => result.ok);
  }

  /**
   * Runs a step. If it throws, the step is recorded as failed, and the run goes on.
   *
   * @param run returns what was seen, or throws
   */
  async step(step: string, run: () => Promise<string> | string): Promise<void> {
    const started = performance.now();
    let ok = true;
    let seen: string;
    try {
      seen = await run();
    } catch (thrown) {
      ok = false;
      seen = thrown instanceof EnclaveError && thrown.hint !== undefined
        ? `${thrown.message} ${thrown.hint}`
        : messageOf(thrown);
    }
    const result = {
      section: this.#section,
      step,
      ok,
      ms: Math.round((performance.now() - started) * 100) / 100,
      seen,
    };
    this.results.push(result);
    this.#onStep(result);
  }
}

/** Prints steps as they come: mark, name, time, what was seen. */
export function stepPrinter(write: (text: string) => void, colour: boolean): (result: StepResult) => void {
  let section: string | undefined;
  const paint = (code: string, text: string) => (colour ? `${code}${text}${RESET}` : text);
  return (result) => {
    if (result.section !== section) {
      write(`${section === undefined ? "" : "\n"}${paint(BOLD, result.section)}\n`);
      section = result.section;
    }
    const mark = result.ok ? paint(GREEN, "ok  ") : paint(RED, "FAIL");
    write(`  ${mark} ${result.step.padEnd(44)} ${result.ms.toFixed(1).padStart(8)} ms  ${result.seen}\n`);
  };
}
