/**
 * The end of every entry point: runs a command line, prints what it failed with, and exits. The only module of `lib/` that ends the process.
 *
 * @module
 */
import { describeFailure } from "./failure.ts";
import { exitProcess } from "./process_guard.ts";

/**
 * Runs `main` and exits with its code. A thrown error goes to stderr as words.
 *
 * @param exitCodeOf the exit code of an error; by default {@link describeFailure}'s
 */
export async function runEntry(
  main: (argv: readonly string[]) => number | Promise<number>,
  exitCodeOf: (thrown: unknown) => number = (thrown) => describeFailure(thrown).exitCode,
): Promise<never> {
  let exitCode: number;
  try {
    exitCode = await main(Deno.args);
  } catch (thrown) {
    Deno.stderr.writeSync(new TextEncoder().encode(describeFailure(thrown).text));
    exitCode = exitCodeOf(thrown);
  }
  exitProcess(exitCode);
}
