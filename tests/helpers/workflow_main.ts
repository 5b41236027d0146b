/**
 * `dev` with a workflow that misbehaves as the plaintext asks. The service is the one that ships.
 *
 * @module
 */
import { main } from "../../scripts/dev.ts";
import { runEntry } from "../../lib/shared/cli/entry.ts";

if (import.meta.main) await runEntry((argv) => main(argv, () => import("./hostile_workflow.ts")));
