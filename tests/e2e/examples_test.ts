/** The workers and the web page of examples/, run as their readers would: against the development service, and against one that attests. */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { Bridge, parseBridgeListen } from "../../lib/ctl/bridge/bridge.ts";
import { parseAddress } from "../../lib/shared/wire/address.ts";
import { Folder } from "../helpers/folder.ts";
import { PCR0, sealedRig } from "../helpers/sealed_rig.ts";
import { within } from "../helpers/deadline.ts";
import { findGo, findPython, GO_ENV } from "../helpers/languages.ts";
import { findTool, runTool } from "../helpers/tools.ts";
import { documentedProgramWorks, worksAsDescribed } from "../helpers/workers.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const EXAMPLES = `${ROOT}examples`;
const python = findPython("the Python worker");
const go = findGo("the Go worker");
const chromium = findTool([
  ["chromium-headless-shell", "--version"],
  ["chromium", "--version"],
], "the page in a browser, since there is no chromium (Debian: chromium-headless-shell)");

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

/** What Node 20 and older browsers lack is taken away before the page's script runs. */
const PAGE = `<!doctype html><meta charset="utf-8"><script>
  for (const name of ["fromBase64", "fromHex"]) delete Uint8Array[name];
  for (const name of ["toBase64", "toHex"]) delete Uint8Array.prototype[name];
  for (const name of ["union", "intersection", "difference"]) delete Set.prototype[name];
  delete Promise.withResolvers;
  delete Object.groupBy;
  delete Array.fromAsync;
</script><script type="module" src="page.js"></script>`;

/** A page and its script on loopback, and what the script posts to /result. */
function servePage(script: string) {
  const result = Promise.withResolvers<unknown>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/result") result.resolve(await request.json());
    if (pathname === "/page.js") {
      return new Response(script, { headers: { "content-type": "text/javascript" } });
    }
    return new Response(PAGE, { headers: { "content-type": "text/html" } });
  });
  return {
    origin: `http://127.0.0.1:${server.addr.port}`,
    result: result.promise,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function bundleForBrowser(entry: string, output: string): Promise<void> {
  const args = ["bundle", "--quiet", "--platform", "browser", "--lock=tests/deno.lock", "--frozen"];
  const { code, stderr } = await runTool(Deno.execPath(), [...args, "--output", output, entry], {
    cwd: ROOT,
  });
  assertEquals(code, 0, stderr);
}

Deno.test("the page's script can be bundled for a browser: it imports nothing of Node's, and uses Deno for sockets alone", async () => {
  await using folder = await Folder.make();
  await bundleForBrowser("examples/web_page/page.ts", `${folder.path}/page.js`);
  const script = await Deno.readTextFile(`${folder.path}/page.js`);
  assert(!/\bDeno\b(?!\.connect\()|from\s*"node:|require\("node:/.test(script));
});

Deno.test({
  name:
    "a page in a browser without Uint8Array.fromBase64 verifies the enclave, uses all services sealed, and refuses another build",
  ignore: chromium === undefined,
  fn: async () => {
    await using rig = await sealedRig({ sealed: { required: true } });
    await using folder = await Folder.make();
    await bundleForBrowser("tests/helpers/browser_page.ts", `${folder.path}/page.js`);
    const key = new Uint8Array(32).fill(7);
    const given = {
      pcr0: PCR0,
      root: encodeBase64(rig.nsm.root),
      key: encodeHex(key),
      wrapped: encodeBase64(await rig.kms.encrypt(rig.keyArn, key)),
    };
    await using page = servePage(await Deno.readTextFile(`${folder.path}/page.js`));
    await using bridge = await Bridge.start({
      listen: parseBridgeListen("http://127.0.0.1:0", parseAddress),
      target: rig.address,
      allowOrigins: [page.origin],
    });
    const query = new URLSearchParams({ ...given, bridge: bridge.address });
    const child = new Deno.Command(chromium ?? "", {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
        ...["--disable-background-networking", "--remote-debugging-port=0"],
        `--user-data-dir=${folder.path}/profile`,
        `${page.origin}/?${query}`,
      ],
      env: { HOME: folder.path },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      assertEquals(await within(page.result, "the page's result", 60_000), {
        hasFromBase64: false,
        module: rig.nsm.moduleId,
        processed: 100_000,
        v: true,
        scheme: "ecdsa",
        unsealed: "sealed_required",
        noBridge: "connect_failed",
        otherBuild: "attestation_pcr",
        awsRoot: "attestation_root",
      });
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  },
});
