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
import { EXIT, takeCommand } from "../lib/shared/cli/options.ts";
import { writeAll } from "../lib/shared/write_all.ts";
import { workflowProcess } from "../lib/enclave/cli/workflow_process.ts";
import type { WorkflowProcessPorts } from "../lib/enclave/session_key/workflow/process.ts";

const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), new TextEncoder().encode(text)),
  isTerminal: () => false,
  env: (name) => Deno.env.get(name),
  untilSignal,
});

/** Runs a command line; with another workflow where a test or an example brings one. Returns the exit code. */
export async function main(
  argv: readonly string[],
  load: WorkflowProcessPorts["load"] = () => import("../lib/workflow.ts"),
): Promise<number> {
  const { command, rest } = takeCommand(argv, ["serve", "tsk", "workflow-process"]);
  if (command === "workflow-process") {
    await workflowProcess(Number(rest[0]), { load, exit: Deno.exit });
    return EXIT.ok;
  }
  if (command !== "tsk") return await runDevService(rest, io);
  return await runProgram(
    { name: "deno task dev", commands: tskCommands(LOCAL_TSK), help: String },
    argv,
    io,
  );
}

if (import.meta.main) await runEntry((argv) => main(argv));
