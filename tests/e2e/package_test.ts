/**
 * The npm package: a Node project in TypeScript installs it, compiles against its types, and talks to a
 * service that attests.
 */
import { assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { makePackage } from "../../scripts/package.ts";
import { Folder } from "../helpers/folder.ts";
import { PCR0, sealedRig } from "../helpers/sealed_rig.ts";
import { findTool, runTool } from "../helpers/tools.ts";

const node = findTool([["node", "--version"]], "the npm package, since there is no node (Debian: nodejs)");
const npm = findTool([["npm", "--version"]], "the npm package, since there is no npm (Debian: npm)");
const MAIN = new URL("../fixtures/npm_project/main.ts.txt", import.meta.url);

const PROJECT = { name: "project", private: true, type: "module" };
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
  files: ["main.ts"],
};

Deno.test({
  name: "a Node project in TypeScript installs the package, compiles, verifies an enclave and seals for it",
  ignore: node === undefined || npm === undefined,
  fn: async () => {
    await using folder = await Folder.make({
      "package.json": JSON.stringify(PROJECT),
      "tsconfig.json": JSON.stringify(TSCONFIG),
      "main.ts": await Deno.readTextFile(MAIN),
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

    await using rig = await sealedRig();
    const args = [String(rig.address.port), PCR0, encodeBase64(rig.nsm.root)];
    const { node: version, hasFromBase64, ...said } = JSON.parse(await run(node ?? "", "main.js", ...args));
    // Node 20 has no Uint8Array.fromBase64; later ones may.
    if (version === "20") assertEquals(hasFromBase64, false);
    assertEquals(said, {
      plain: ["pong", true],
      module: rig.nsm.moduleId,
      sealed: "pong",
      aws: "attestation_root",
      noSockets: "connect_failed",
      frame: 15,
      codes: true,
      sender: 44,
    });
  },
});
