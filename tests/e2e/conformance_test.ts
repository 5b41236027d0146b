/** The clients in Python, Go and for Node do what clients/conformance.json says, against the development service. */
import { assertEquals } from "@std/assert";
import { conformanceRig, LIST, problemOf, readList } from "../helpers/conformance.ts";
import { findTool, runTool, type ToolResult } from "../helpers/tools.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const VENV = `${ROOT}tests/peers/build/venv/bin/python`;
const IMPORTS = "import cryptography.hazmat.primitives.asymmetric.x25519";
const python = findTool([
  [VENV, "-c", IMPORTS],
  ["python3", "-c", IMPORTS],
], "the Python client, since there is no Python with cryptography (deno task build peers)");

/** Runs the list with a client, and requires each outcome. */
async function conforms(run: (list: string, values: string) => Promise<ToolResult>): Promise<void> {
  await using rig = await conformanceRig();
  const { steps, documents } = await readList();
  const result = await run(LIST, rig.valuesFile);
  assertEquals(result.code, 0, result.stderr);
  const outcomes: Readonly<Record<string, unknown>> = JSON.parse(result.stdout);
  const asked = rig.values.documents === null ? steps : [...steps, ...documents];
  assertEquals(Object.keys(outcomes).sort(), asked.map(({ name }) => name).sort());
  const problems = asked.flatMap((step) => {
    const problem = problemOf(step, outcomes[step.name], rig.values);
    return problem === undefined ? [] : [`${step.name}: ${problem}`];
  });
  assertEquals(problems, []);
}

Deno.test({
  name: "the Python client conforms",
  ignore: python === undefined,
  fn: () =>
    conforms((list, values) =>
      runTool(python ?? "", [`${ROOT}clients/python/tests/conformance.py`, list, values], {
        env: { PYTHONPATH: `${ROOT}clients/python`, PYTHONDONTWRITEBYTECODE: "1" },
      })
    ),
});
