/**
 * A one-line change that breaks a rule, and the test that notices it. A change is found by its text, so that files may move.
 *
 * @module
 */

/** A change of one line of the product that a test must notice. */
export interface Mutant {
  /** Unique; docs/security.md names it beside its rule. */
  readonly name: string;
  /** What the change breaks, as a person would say it. */
  readonly breaks: string;
  /** The text to replace: within one line, and only once in `main.ts`, `ffi` and `lib`. */
  readonly from: string;
  readonly to: string;
  /** The test file that fails with it, below `tests/`. */
  readonly test: string;
  /** Part of the names of the tests to run, where the whole file takes long. */
  readonly filter?: string;
  /** The part of the product that it is in, where docs/security.md has no rule for it. Without this, the page names the mutant. */
  readonly of?: "FFI" | "key path";
}
