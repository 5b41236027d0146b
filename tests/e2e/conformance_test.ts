/** The clients in Python and Go do what clients/conformance.json says, against the development service. package_test.ts runs it with the npm package. */
import { assertEquals } from "@std/assert";
import { conforms } from "../helpers/conformance.ts";
import { Folder } from "../helpers/folder.ts";
import { findTool, runTool } from "../helpers/tools.ts";

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
