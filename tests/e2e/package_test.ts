/**
 * The npm package: a Node project in TypeScript installs it, compiles against its types, and uses all three
 * services of one that attests: over a socket of Node's, web streams, an address and the HTTP bridge.
 */
import { assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { Bridge, parseBridgeListen } from "../../lib/ctl/bridge/bridge.ts";
import { parseAddress } from "../../lib/shared/wire/address.ts";
import { makePackage } from "../../scripts/package.ts";
import { bundleForBrowser, findBrowser, pageWorks } from "../helpers/browser.ts";
import { conforms } from "../helpers/conformance.ts";
import { Folder } from "../helpers/folder.ts";
import { PCR0, sealedRig } from "../helpers/sealed_rig.ts";
import { documentedProgramWorks, worksAsDescribed } from "../helpers/workers.ts";
import { findTool, runTool } from "../helpers/tools.ts";

const node = findTool([["node", "--version"]], "the npm package, since there is no node (Debian: nodejs)");
const npm = findTool([["npm", "--version"]], "the npm package, since there is no npm (Debian: npm)");
const source = (name: string) =>
  Deno.readTextFile(new URL(`../fixtures/npm_project/${name}.ts.txt`, import.meta.url));

const browser = findBrowser("the npm package");

/** The page of the browser's test, with the package in place of this repository's modules. */
async function pageSource(): Promise<string> {
  const names: Readonly<Record<string, string>> = {
    "@std/encoding": "../node_modules/@denclave/denclave/dist/std/encoding.js",
    "../../lib/shared/attestation/verify.ts":
      "../node_modules/@denclave/denclave/dist/shared/attestation/verify.js",
    "../../examples/web_page/sign.ts": "./sign.ts",
    "../../lib/ctl/client/client.ts": "@denclave/denclave/client",
    "../../lib/ctl/client/process.ts": "@denclave/denclave/process",
    "../../lib/ctl/client/sealed_client.ts": "@denclave/denclave/sealed_client",
    "../../lib/ctl/client/wallet.ts": "@denclave/denclave/wallet",
    "../../lib/ctl/client/receipt_client.ts": "@denclave/denclave/receipt_client",
    "../../lib/shared/receipts/mod.ts": "@denclave/denclave/receipts",
  };
  const text = await Deno.readTextFile(new URL("../helpers/browser_page.ts", import.meta.url));
  return text.replace(/from "([^"]+)"/g, (_, name: string) => `from "${names[name] ?? `unknown:${name}`}"`);
}

const PROJECT = { name: "project", private: true, type: "module" };
const refused = (message: string) => ["EnclaveError", "connect_failed", message];
/** As strict as a project may be, and types of packages are checked too. */
const TSCONFIG = {
  compilerOptions: {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    target: "es2022",
    lib: ["es2023", "dom"],
    module: "nodenext",
    types: ["node"],
  },
  files: ["main.ts", "conformance.ts"],
};

Deno.test({
  name: "a project in TypeScript installs the npm package",
  ignore: node === undefined || npm === undefined,
  fn: async (test) => {
    await using folder = await Folder.make({
      "package.json": JSON.stringify(PROJECT),
      "tsconfig.json": JSON.stringify(TSCONFIG),
      "main.ts": await source("main"),
      "conformance.ts": await source("conformance"),
      "worker.mjs": await Deno.readTextFile(
        new URL("../../examples/workers/node/worker.mjs", import.meta.url),
      ),
    });
    const tarball = await makePackage(folder.path);
    const run = async (command: string, ...args: string[]) => {
      const result = await runTool(command, args, { cwd: folder.path });
      assertEquals(result.code, 0, `${command} ${args.join(" ")}: ${result.stdout}${result.stderr}`);
      return result.stdout;
    };
    const quiet = ["--no-audit", "--no-fund", "--ignore-scripts"];
    await run(npm ?? "", "install", ...quiet, tarball, "typescript@5.9.3", "@types/node@20.19.0");
    await run(npm ?? "", "exec", "--no", "--", "tsc");

    const runNode = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
      runTool(node ?? "", args, { cwd: folder.path, env });
    const step = (name: string, fn: () => Promise<void>) => test.step(name, fn);
    await step(
      "in Node it uses all services of an enclave that it verifies, over every kind of stream",
      async () => {
        await using rig = await sealedRig();
        const listen = parseBridgeListen("http://127.0.0.1:0", parseAddress);
        await using bridge = await Bridge.start({ listen, target: rig.address });
        const key = new Uint8Array(32).fill(7);
        const wrapped = encodeBase64(await rig.kms.encrypt(rig.keyArn, key));
        const args = [
          ...[String(rig.address.port), PCR0, encodeBase64(rig.nsm.root)],
          ...[bridge.address, wrapped, encodeHex(key)],
        ];
        const { node: version, hasFromBase64, ...said } = JSON.parse(
          await run(node ?? "", "main.js", ...args),
        );
        // Node 20 has no Uint8Array.fromBase64; later ones may.
        if (version === "20") assertEquals(hasFromBase64, false);
        assertEquals(said, {
          pongs: "pong8",
          results: [true, true, true, true],
          unopened: [
            "decrypt_failed",
            "Cannot open: the tag does not match",
            "Check the key and the additional data.",
          ],
          signature: true,
          scheme: "ecdsa",
          module: rig.nsm.moduleId,
          sealed: "pong",
          aws: "attestation_root",
          refused: refused("Cannot connect to tcp:127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1"),
          refusedSocket: [
            "EnclaveError",
            "no_reply",
            "No reply from the service: connect ECONNREFUSED 127.0.0.1:1",
          ],
          refusedBridge: [
            "BridgeError",
            "connect_failed",
            "Cannot connect to http://127.0.0.1:2: connect ECONNREFUSED 127.0.0.1:2",
          ],
          noVsock: refused("Cannot connect to vsock:16:5000: Node has no vsock sockets"),
          frame: 15,
          codes: true,
          sender: 44,
        });
      },
    );
    await step("in Node it conforms", () => conforms((...files) => runNode(["conformance.js", ...files])));
    await step(
      "the program of docs/clients.md works in Node",
      () =>
        documentedProgramWorks("ts", async (cwd, program) => {
          const file = await Deno.makeTempFile({ dir: folder.path, suffix: ".mjs" });
          // This one has no syntax of TypeScript but a type.
          await Deno.writeTextFile(file, program.replace("(file: string)", "(file)"));
          return await runTool(node ?? "", [file], { cwd });
        }),
    );
    await step(
      "the worker in Node configures, backs off, carries sealed jobs, and puts refused ones aside",
      () => worksAsDescribed((args, env) => runNode(["worker.mjs", ...args], env)),
    );
    await test.step({
      name: "in a browser it verifies the enclave, uses all services sealed, and refuses another build",
      ignore: browser === undefined,
      fn: async () => {
        await folder.write("page/page.ts", await pageSource());
        const sign = new URL("../../examples/web_page/sign.ts", import.meta.url);
        await folder.write("page/sign.ts", await Deno.readTextFile(sign));
        const script = await bundleForBrowser("page/page.ts", `${folder.path}/page.js`, {
          cwd: folder.path,
          flags: ["--node-modules-dir=manual", "--no-lock"],
        });
        await pageWorks(browser ?? "", script);
      },
    });
  },
});
