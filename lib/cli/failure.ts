/**
 * What a command line prints for an error, and the exit code that goes with it.
 *
 * @module
 */
import { EnclaveError, messageOf, positionOf } from "../errors.ts";
import { EXIT } from "./options.ts";

/** What to print on stderr for something that ended the program, and its exit code. */
export function describeFailure(thrown: unknown): { readonly text: string; readonly exitCode: number } {
  if (!(thrown instanceof EnclaveError)) {
    const position = positionOf(thrown);
    const where = position === undefined ? "" : ` (at ${position})`;
    return { text: `denclave: internal error: ${messageOf(thrown)}${where}\n`, exitCode: EXIT.software };
  }
  const hint = thrown.hint === undefined ? "" : `\n${thrown.hint}`;
  const isUsage = ["usage", "invalid_key_arn", "invalid_address", "invalid_endpoint", "invalid_config"]
    .includes(thrown.code);
  return { text: `denclave: ${thrown.message}${hint}\n`, exitCode: isUsage ? EXIT.usage : EXIT.unavailable };
}
