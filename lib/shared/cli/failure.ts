/**
 * What a command line prints for an error, and the exit code that goes with it.
 *
 * @module
 */
import { EnclaveError, messageOf, positionOf } from "../errors.ts";
import { EXIT } from "./options.ts";

/** Codes of mistakes in the command line or the configuration. */
const USAGE_CODES: readonly string[] = [
  "usage",
  "tsk_exists",
  "invalid_key_arn",
  "invalid_address",
  "invalid_endpoint",
  "invalid_config",
];

/** What a program prints about the error that ended it, and its exit code. */
export interface Failure {
  readonly lines: readonly string[];
  readonly exitCode: number;
}

/** Describes an error that ended the program. */
export function failureLines(thrown: unknown): Failure {
  if (thrown instanceof EnclaveError) {
    const hint = thrown.hint === undefined ? [] : [thrown.hint];
    const exitCode = USAGE_CODES.includes(thrown.code) ? EXIT.usage : EXIT.unavailable;
    return { lines: [`denclave: ${thrown.message}`, ...hint], exitCode };
  }
  const position = positionOf(thrown);
  const where = position === undefined ? "" : ` (at ${position})`;
  return { lines: [`denclave: internal error: ${messageOf(thrown)}${where}`], exitCode: EXIT.software };
}
