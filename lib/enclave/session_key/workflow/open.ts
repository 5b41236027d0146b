/**
 * Starts workflow processes as children of this program.
 *
 * @module
 */
import { childStarter, selfCommand } from "../../children/child.ts";
import type { Ports } from "../../server/feature.ts";
import type { WorkflowSettings } from "./messages.ts";
import { WorkflowPool, type WorkflowPoolOptions, type Workflows } from "./pool.ts";

/** The operator's settings. */
export interface WorkflowOptions
  extends WorkflowSettings, Pick<WorkflowPoolOptions, "processes" | "deadlineMs" | "isDevelopment"> {
  /** Permissions of a process that is run from source, until it gives them up. */
  readonly permissions: readonly string[];
}

/** Bytes that a message has beside a result. */
const MESSAGE_OVERHEAD = 64 * 1024;

/**
 * Makes the pool. Its processes start when the KMS is open: the kernel's pool is then seeded from the NSM, and the runtime of each process is seeded
 * from the kernel's, once.
 */
export function openWorkflows(options: WorkflowOptions): (ports: Ports) => Workflows {
  const { memory, maxResult, requireWall, permissions } = options;
  const maxLength = maxResult + MESSAGE_OVERHEAD;
  return ({ kms, log, monotonic }) => {
    const pool = new WorkflowPool({
      ...options,
      start: childStarter({ ...selfCommand("workflow-process", permissions), maxLength }),
      settings: { memory, maxResult, requireWall },
      log,
      monotonic,
    });
    void Promise.resolve(kms.opened).then(() => pool.start(), () => {});
    return pool;
  };
}
