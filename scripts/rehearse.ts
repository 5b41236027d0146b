/**
 * The entry point of `deno task rehearse`.
 *
 * @module
 */
import { runEntry } from "../lib/shared/cli/entry.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { runRehearsal } from "../lib/dev/rehearse.ts";
import { writeAll } from "../lib/shared/write_all.ts";

function untilSignal(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => resolve(signal));
  }
  return promise;
}

const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), new TextEncoder().encode(text)),
  isTerminal: () => false,
  env: () => undefined,
  untilSignal,
});

if (import.meta.main) await runEntry((argv) => runRehearsal(argv, io));
