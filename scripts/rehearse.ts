/**
 * The entry point of `deno task rehearse`.
 *
 * @module
 */
import { runEntry } from "../lib/cli/entry.ts";
import { runRehearsal } from "../lib/ctl/rehearse.ts";
import { writeAll } from "../lib/write_all.ts";

function untilSignal(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => resolve(signal));
  }
  return promise;
}

const stdout = (text: string) =>
  writeAll((bytes) => Deno.stdout.writeSync(bytes), new TextEncoder().encode(text));

if (import.meta.main) await runEntry((argv) => runRehearsal(argv, { stdout, untilSignal }));
