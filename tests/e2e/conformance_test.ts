/** The clients in Python, Go and for Node do what clients/conformance.json says, against the development service. */
import { assertEquals } from "@std/assert";
import { conformanceRig, LIST, problemOf, readList } from "../helpers/conformance.ts";
import { Folder } from "../helpers/folder.ts";
import { findTool, runTool, type ToolResult } from "../helpers/tools.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const VENV = `${ROOT}tests/peers/build/venv/bin/python`;
const IMPORTS = "import cryptography.hazmat.primitives.asymmetric.x25519";
const python = findTool([
  [VENV, "-c", IMPORTS],
  ["python3", "-c", IMPORTS],
], "the Python client, since there is no Python with cryptography (deno task build peers)");
const go = findTool(
  [["go", "version"], ["/usr/local/go/bin/go", "version"]],
  "the Go client, since there is no go (Debian: golang-go)",
);

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

Deno.test({
  name: "the Go client conforms",
  ignore: go === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    const binary = `${folder.path}/conformance`;
    const built = await runTool(go ?? "", ["build", "-o", binary, "./internal/conformance"], {
      cwd: `${ROOT}clients/go`,
      env: {
        GOTOOLCHAIN: "local",
        GOFLAGS: "-mod=readonly -buildvcs=false",
        GOPROXY: "off",
        CGO_ENABLED: "0",
      },
    });
    assertEquals(built.code, 0, built.stderr);
    await conforms((list, values) => runTool(binary, [list, values]));
  },
});
