/**
 * A workflow that answers with random numbers of the Web's interface.
 *
 * @module
 */
import type { Workflow } from "../../lib/workflow_context.ts";

/** In the place of lib/workflow.ts. */
export const workflow: Workflow = () => crypto.getRandomValues(new Uint8Array(16));
