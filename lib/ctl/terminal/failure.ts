/**
 * Failures of `denclavectl`: a full disk and a missing file are named as such.
 *
 * @module
 */
import { type Failure, failureLines as linesOf } from "../../shared/cli/failure.ts";
import { EXIT } from "../../shared/cli/options.ts";
import { EnclaveError } from "../../shared/errors.ts";

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
function isMissingFile(thrown: unknown): boolean {
  return thrown instanceof EnclaveError && thrown.code === "eif_unreadable" &&
    [...causesOf(thrown)].some((cause) => cause instanceof Deno.errors.NotFound);
}

/** Describes an error that ended the program. */
export function failureLines(failed: unknown): Failure {
  const thrown = namedFailure(failed);
  const failure = linesOf(thrown);
  return isMissingFile(thrown) ? { ...failure, exitCode: EXIT.usage } : failure;
}
