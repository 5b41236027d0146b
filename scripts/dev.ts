/**
 * The entry point of `deno task dev`.
 *
 * @module
 */
import { tskCommands } from "../lib/ctl/commands/tsk.ts";
import { runProgram } from "../lib/ctl/terminal/command.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { LOCAL_TSK, runDevService } from "../lib/dev/service/mod.ts";
import { runEntry, untilSignal } from "../lib/shared/cli/entry.ts";
import { takeCommand } from "../lib/shared/cli/options.ts";
import { writeAll } from "../lib/shared/write_all.ts";
import { workflow } from "../lib/workflow.ts";
import type { Workflow } from "../lib/workflow_context.ts";

const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), new TextEncoder().encode(text)),
  isTerminal: () => false,
  env: (name) => Deno.env.get(name),
  untilSignal,
});

/** Runs a command line; with another workflow where a test or an example brings one. Returns the exit code. */
export async function main(argv: readonly string[], work: Workflow = workflow): Promise<number> {
  const { command, rest } = takeCommand(argv, ["serve", "tsk"]);
  if (command !== "tsk") return await runDevService(rest, io, work);
  return await runProgram(
    { name: "deno task dev", commands: tskCommands(LOCAL_TSK), help: String },
    argv,
    io,
  );
}

if (import.meta.main) await runEntry((argv) => main(argv));
