/**
 * The workers and the web page of examples/, run as their readers would: against the development service, and
 * against one that attests.
 */
import { assert, assertEquals } from "@std/assert";
import { bundleForBrowser, findBrowser, pageWorks } from "../helpers/browser.ts";
import { Folder } from "../helpers/folder.ts";
import { findGo, findPython, GO_ENV } from "../helpers/languages.ts";
import { runTool } from "../helpers/tools.ts";
import { documentedProgramWorks, worksAsDescribed } from "../helpers/workers.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const EXAMPLES = `${ROOT}examples`;
const python = findPython("the Python worker");
const go = findGo("the Go worker");
const chromium = findBrowser("the page");

Deno.test({
  name: "the Python worker configures, backs off, carries sealed jobs, and puts refused ones aside",
  ignore: python === undefined,
  fn: () =>
    worksAsDescribed((args, env) =>
      runTool(python ?? "", [`${EXAMPLES}/workers/python/worker.py`, ...args], {
        env: { ...env, PYTHONPATH: `${ROOT}clients/python`, PYTHONDONTWRITEBYTECODE: "1" },
      })
    ),
});

Deno.test({
  name: "the Go worker configures, backs off, carries sealed jobs, and puts refused ones aside",
  ignore: go === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    const binary = `${folder.path}/worker`;
    const built = await runTool(go ?? "", ["build", "-o", binary, "."], {
      cwd: `${EXAMPLES}/workers/go`,
      env: GO_ENV,
    });
    assertEquals(built.code, 0, built.stderr);
    await worksAsDescribed((args, env) => runTool(binary, args, { env }));
  },
});

Deno.test({
  name: "the Python program of docs/clients.md works",
  ignore: python === undefined,
  fn: () =>
    documentedProgramWorks("python", (cwd, program) =>
      runTool(python ?? "", ["-c", program], {
        cwd,
        env: { PYTHONPATH: `${ROOT}clients/python`, PYTHONDONTWRITEBYTECODE: "1" },
      })),
});

Deno.test({
  name: "the Go program of docs/clients.md works",
  ignore: go === undefined,
  fn: () =>
    documentedProgramWorks("go", async (cwd, program) => {
      const module = await Deno.readTextFile(`${EXAMPLES}/workers/go/go.mod`);
      await Deno.writeTextFile(`${cwd}/go.mod`, module.replace("../../../clients/go", `${ROOT}clients/go`));
      await Deno.writeTextFile(`${cwd}/main.go`, program);
      return await runTool(go ?? "", ["run", "."], { cwd, env: GO_ENV });
    }),
});

for (const entry of ["examples/web_page/page.ts", "lib/shared/receipts/mod.ts"]) {
  Deno.test(`${entry} can be bundled for a browser: it imports nothing of Node's, and uses Deno for sockets alone`, async () => {
    await using folder = await Folder.make();
    const script = await bundleForBrowser(entry, `${folder.path}/page.js`);
    assert(!/\bDeno\b(?!\.connect\()|from\s*"node:|require\("node:/.test(script));
  });
}

Deno.test({
  name:
    "a page in a browser without Uint8Array.fromBase64 verifies the enclave, uses all services sealed, and refuses another build",
  ignore: chromium === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    const script = await bundleForBrowser("tests/helpers/browser_page.ts", `${folder.path}/page.js`);
    await pageWorks(chromium ?? "", script);
  },
});
