/**
 * The errors of sealed messages.
 *
 * Runs in browsers.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** What to do, by what went wrong. */
const HINTS = {
  /** Sealed for another key or message, by another sender, or changed on the way. */
  sealed_not_opened: "Do not trust what came: it is not the enclave's answer to this request.",
  /** The answer is not a sealed reply. */
  sealed_reply:
    "The reply did not come from the enclave, but from whoever carries the messages: do not trust it.",
  /** An unencrypted error instead of a sealed reply; it is the cause. */
  sealed_refused:
    "Nothing proves that the enclave said so, or that the request was not carried out. The next request attests anew.",
  /** No counters are left. */
  sealed_counter: "Start again with another client id.",
  /** The expectation does not identify an enclave, or a key cannot be used. */
  sealed_expectation: "Say which PCRs the enclave must have, PCR0 at least.",
} as const satisfies Record<SealedCode, string>;

/** What went wrong. */
export type SealedCode =
  | "sealed_not_opened"
  | "sealed_reply"
  | "sealed_refused"
  | "sealed_counter"
  | "sealed_expectation";

/** A sealed message was refused, or cannot be made. */
export class SealedError extends EnclaveError {
  /** The class. */
  override name = "SealedError";
  /** What went wrong. */
  declare readonly code: SealedCode;

  /**
   * The hint is the code's.
   *
   * @param message says what failed
   */
  constructor(code: SealedCode, message: string, cause?: unknown) {
    super(message, { code, hint: HINTS[code], cause });
  }
}
