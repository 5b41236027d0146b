/**
 * The root of the error classes that this program throws on purpose. A layer has one class below it; programmer
 * errors stay TypeError and RangeError.
 *
 * @module
 */

/** What an {@link EnclaveError} is made from, beside its message. */
export interface EnclaveErrorOptions<Code extends string = string> {
  /** Stable, snake_case: what a program may compare against. */
  readonly code: Code;
  /** What a person can do about it, one sentence. */
  readonly hint?: string | undefined;
  /** The underlying error. */
  readonly cause?: unknown;
}

/** An error with a stable code, a message that names the input, and a remedy. Never holds a secret. */
export class EnclaveError extends Error {
  /** The class. */
  override name = "EnclaveError";
  /** Stable, snake_case: what a program may compare against. */
  readonly code: string;
  /** What a person can do about it. */
  readonly hint: string | undefined;

  /**
   * Made with a code.
   *
   * @param message says what failed, on which input
   */
  constructor(message: string, options: EnclaveErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.hint = options.hint;
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

const NAME = /^[A-Za-z_$][\w$]{0,63}$/;

/**
 * What kind of thing was thrown, for the log: the `name` that the error's class sets, or `Error` where that
 * is not a name. Not the constructor's name, which a bundle changes where two modules have a class of the
 * same name.
 */
export function kindOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return typeof thrown;
  return NAME.test(thrown.name) ? thrown.name : "Error";
}

/**
 * Where an error was thrown in the program's own files, such as `denclave.js:12:3456`: file name, line and column, without the
 * message. Undefined where the stack does not show it.
 */
export function positionOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const stack = thrown.stack ?? "";
  // The message comes first, and may contain any text.
  const message = stack.indexOf(thrown.message);
  const frames = stack.slice(message < 0 ? 0 : message + thrown.message.length);
  return /^ {4}at .*file:\/\/[^\s()]*?([\w.-]+:[0-9]+:[0-9]+)\)?$/m.exec(frames)?.[1];
}
