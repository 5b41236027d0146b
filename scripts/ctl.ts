/**
 * The entry point of `denclavectl`, the command line for use outside the enclave.
 *
 * @module
 */
import { runEntry, untilSignal } from "../lib/shared/cli/entry.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { describeCtlFailure, runCtl } from "../lib/ctl/commands/main.ts";
import { writeAll } from "../lib/shared/write_all.ts";

const encoder = new TextEncoder();
const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), encoder.encode(text)),
  isTerminal: (stream) => Deno[stream].isTerminal(),
  env: (name) => Deno.env.get(name),
  untilSignal,
  onReload: (run) => Deno.addSignalListener("SIGHUP", run),
  loadEmulator: () => import("../lib/dev/kms_emulator/command.ts"),
});

if (import.meta.main) await runEntry((argv) => runCtl(argv, io), describeCtlFailure);
