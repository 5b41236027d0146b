/**
 * The root of the error classes that this program throws on purpose. A layer has one class below it; programmer
 * errors stay TypeError and RangeError.
 *
 * @module
 */

/** What an {@link EnclaveError} is made from, beside its message. */
export interface EnclaveErrorOptions {
  /** Stable, snake_case: what a program may compare against. */
  readonly code: string;
  /** What a person can do about it, one sentence. */
  readonly hint?: string | undefined;
  /** What it was made of. */
  readonly cause?: unknown;
}

/** An error with a stable code, a message that names the input, and a remedy. Never holds a secret. */
export class EnclaveError extends Error {
  /** Stable, snake_case: what a program may compare against. */
  readonly code: string;
  /** What a person can do about it. */
  readonly hint: string | undefined;

  /**
   * Named after the class that is made.
   *
   * @param message says what failed, on which input
   */
  constructor(message: string, options: EnclaveErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options.code;
    this.hint = options.hint;
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
