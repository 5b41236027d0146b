/** What a request cannot decide, settings, binding, replay, keys and random numbers; the FFI and the way of a key. */
import type { Mutant } from "../mutant.ts";

export const KEY_MUTANTS: readonly Mutant[] = [
  {
    name: "seal-without-count",
    breaks: "seals under one key are not counted",
    from: "    this.#seals++;",
    to: "",
    test: "unit/crypto/sealing_test.ts",
  },
];
