/**
 * `dev` with one of the examples' workflows, which the query of its address names. Processes of the workflow have no environment.
 *
 * @module
 */
import { main } from "../../scripts/dev.ts";
import { runEntry } from "../../lib/shared/cli/entry.ts";
import { workflow as asyncRounds } from "../../examples/workflows/async_rounds.ts";
import { workflow as cborPackage } from "../../examples/workflows/cbor_package.ts";
import { workflow as jsonOrder } from "../../examples/workflows/json_order.ts";
import type { Workflow } from "../../lib/workflow_context.ts";

const EXAMPLES: Readonly<Record<string, Workflow>> = {
  async_rounds: asyncRounds,
  cbor_package: cborPackage,
  json_order: jsonOrder,
};

if (import.meta.main) {
  const example = EXAMPLES[new URL(import.meta.url).search.slice(1)];
  if (example === undefined) throw new TypeError("The query names no example");
  await runEntry((argv) => main(argv, () => Promise.resolve({ workflow: example })));
}
