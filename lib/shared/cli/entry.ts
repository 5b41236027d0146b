/**
 * Runs an entry point's command line, prints its error, and exits. The only module of `lib/` that ends the process.
 *
 * @module
 */
import { writeAll } from "../write_all.ts";
import { type Failure, failureLines } from "./failure.ts";

/**
 * Resolves with the name of the first signal.
 *
 * @param onAgain called for each further one
 */
export function untilSignal(
  onAgain: () => void = () => {},
  signals: readonly Deno.Signal[] = ["SIGTERM", "SIGINT"],
): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let seen = false;
  for (const signal of signals) {
    Deno.addSignalListener(signal, () => {
      if (seen) onAgain();
      seen = true;
      resolve(signal);
    });
  }
  return promise;
}

/**
 * Runs `main` and exits with its code. A thrown error is described on stderr.
 *
 * @param describe what to print for an error, and its exit code; by default {@link failureLines}
 */
export async function runEntry(
  main: (argv: readonly string[]) => number | Promise<number>,
  describe: (thrown: unknown, argv: readonly string[]) => Failure = failureLines,
): Promise<never> {
  try {
    Deno.exit(await main(Deno.args));
  } catch (thrown) {
    const { lines, exitCode } = describe(thrown, Deno.args);
    const text = lines.map((line) => `${line}\n`).join("");
    writeAll((bytes) => Deno.stderr.writeSync(bytes), new TextEncoder().encode(text));
    Deno.exit(exitCode);
  }
}
