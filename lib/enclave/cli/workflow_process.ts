/**
 * The command `workflow-process`, by which this program starts itself to run the workflow.
 *
 * Permission: FFI on the C library, until it is given up.
 *
 * @module
 */
import { confineProcess } from "../../../ffi/confine.ts";
import { runWorkflowProcess, type WorkflowProcessPorts } from "../session_key/workflow/process.ts";
import { giveUpPermissions, PERMISSIONS } from "./permissions.ts";

/** The kernel ends such a process first when memory is short. */
const OOM_SCORE = 1000;
/** The service and the SDK processes come first when there is too little time for all. */
const NICE = 5;

/** Runs the workflow behind two walls, the kernel's and Deno's. */
export async function workflowProcess(
  parentPid: number,
  { load, exit }: Pick<WorkflowProcessPorts, "load" | "exit">,
): Promise<void> {
  await runWorkflowProcess({
    stdin: Deno.stdin,
    stdout: Deno.stdout,
    load,
    exit,
    confine: ({ memory }) => {
      try {
        return confineProcess({ parentPid, oomScore: OOM_SCORE, foreign: { memory, nice: NICE } });
      } finally {
        giveUpPermissions(PERMISSIONS);
      }
    },
  });
}
