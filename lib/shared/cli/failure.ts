/**
 * What a command line prints for an error, and the exit code that goes with it.
 *
 * @module
 */
import { EnclaveError, messageOf, positionOf } from "../errors.ts";
import { EXIT } from "./options.ts";

const DISK_FULL_HINT = "The disk is full: free space on it, then run the command again.";
/** The messages of the system (ENOSPC, EDQUOT) and of SQLite. */
const DISK_FULL =
  /os error (28|122)\)|\bENOSPC\b|\bEDQUOT\b|no space left on device|database or disk is full/i;
const MAX_CAUSES = 8;

/** A thrown value and its causes. */
function* causesOf(thrown: unknown): Generator<Error> {
  let current = thrown;
  for (let depth = 0; current instanceof Error && depth < MAX_CAUSES; depth++) {
    yield current;
    current = current.cause;
  }
}

/** Describes a failure. One that was caused by a full disk says so. */
export function namedFailure(thrown: unknown): unknown {
  for (const { message } of causesOf(thrown)) {
    if (!DISK_FULL.test(message)) continue;
    const what = thrown instanceof EnclaveError ? thrown.message : `Cannot write: ${message}`;
    return new EnclaveError(what, { code: "disk_full", hint: DISK_FULL_HINT, cause: thrown });
  }
  return thrown;
}

/** Whether a file named on the command line does not exist. Addresses are not files. */
export function isMissingFile(thrown: unknown): boolean {
  return thrown instanceof EnclaveError && thrown.code === "eif_unreadable" &&
    [...causesOf(thrown)].some((cause) => cause instanceof Deno.errors.NotFound);
}

/** What to say about an error that ended the program, each its own line, and its exit code. */
export function failureLines(
  failed: unknown,
): { readonly lines: readonly string[]; readonly exitCode: number } {
  const thrown = namedFailure(failed);
  if (!(thrown instanceof EnclaveError)) {
    const position = positionOf(thrown);
    const where = position === undefined ? "" : ` (at ${position})`;
    return { lines: [`denclave: internal error: ${messageOf(thrown)}${where}`], exitCode: EXIT.software };
  }
  const isUsage =
    ["usage", "tsk_exists", "invalid_key_arn", "invalid_address", "invalid_endpoint", "invalid_config"]
      .includes(thrown.code) || isMissingFile(thrown);
  return {
    lines: [`denclave: ${thrown.message}`, ...(thrown.hint === undefined ? [] : [thrown.hint])],
    exitCode: isUsage ? EXIT.usage : EXIT.unavailable,
  };
}

/** What to print on stderr for an error that ended the program, and its exit code. */
export function describeFailure(failed: unknown): { readonly text: string; readonly exitCode: number } {
  const { lines, exitCode } = failureLines(failed);
  return { text: lines.map((line) => `${line}\n`).join(""), exitCode };
}
