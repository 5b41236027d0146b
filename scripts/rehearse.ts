/**
 * The entry point of `deno task rehearse`.
 *
 * @module
 */
import { runEntry, untilSignal } from "../lib/shared/cli/entry.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { runRehearsal } from "../lib/dev/rehearsal/rehearse.ts";
import { PERMISSIONS } from "./permissions.ts";
import { writeAll } from "../lib/shared/write_all.ts";

const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), new TextEncoder().encode(text)),
  isTerminal: () => false,
  env: () => undefined,
  untilSignal: () => untilSignal(undefined, ["SIGTERM", "SIGINT", "SIGHUP"]),
});

/** As the tasks `ctl` and `dev` run them. */
const program = (name: "ctl" | "dev", options: readonly string[] = []) => [
  ...["run", "--quiet", "--no-prompt", ...options],
  ...PERMISSIONS[name].map(({ flag }) => flag),
  `scripts/${name}.ts`,
];
const PROGRAMS = { ctl: program("ctl", ["--lock=ctl.lock", "--frozen"]), dev: program("dev") };

if (import.meta.main) await runEntry((argv) => runRehearsal(argv, PROGRAMS, io));
