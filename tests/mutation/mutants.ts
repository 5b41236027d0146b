/**
 * One-line changes that break a rule of docs/security.md, each with the test that notices it. A change is found by its text, so that files may
 * move; `deno task mutants` applies them one at a time.
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
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: "seal-without-count",
    breaks: "seals under one key are not counted",
    from: "    this.#seals++;",
    to: "",
    test: "unit/crypto/sealing_test.ts",
  },
  {
    name: "origin-of-another-key",
    breaks: "documents of another public key of the same enclave count as those of the row's key",
    from: "epochs(enclaveId).filter((epoch) => encodeHex(epoch.publicKey) === wanted)",
    to: "epochs(enclaveId).filter(() => wanted !== undefined)",
    test: "unit/parent/gateway_origin_test.ts",
  },
];
