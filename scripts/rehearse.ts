/**
 * The entry point of `deno task rehearse`.
 *
 * @module
 */
import { runEntry, untilSignal } from "../lib/shared/cli/entry.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { runRehearsal } from "../lib/dev/rehearsal/rehearse.ts";
import { writeAll } from "../lib/shared/write_all.ts";

const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), new TextEncoder().encode(text)),
  isTerminal: () => false,
  env: () => undefined,
  untilSignal: () => untilSignal(undefined, ["SIGTERM", "SIGINT", "SIGHUP"]),
});

if (import.meta.main) await runEntry((argv) => runRehearsal(argv, io));
