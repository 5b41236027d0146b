/**
 * The clients in Python and Go do what clients/conformance.json says, against the development service.
 * package_test.ts runs it with the npm package.
 */
import { assertEquals } from "@std/assert";
import { conforms } from "../helpers/conformance.ts";
import { Folder } from "../helpers/folder.ts";
import { findGo, findPython, GO_ENV } from "../helpers/languages.ts";
import { runTool } from "../helpers/tools.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const python = findPython("the Python client");
const go = findGo("the Go client");

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
      env: GO_ENV,
    });
    assertEquals(built.code, 0, built.stderr);
    await conforms((list, values) => runTool(binary, [list, values]));
  },
});
