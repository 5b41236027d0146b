/**
 * What code inside the processes can still do: the production entry from source, with modules that try it.
 */
import { assertEquals } from "@std/assert";
import { Client } from "../../lib/ctl/client/client.ts";
import { copyWithWorkflow } from "../helpers/copied_source.ts";
import { Folder } from "../helpers/folder.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";
import { runTool } from "../helpers/tools.ts";
import { Tsk } from "./production_suite.ts";

const ROOT = new URL("../..", import.meta.url);
const SERVE = [
  "--listen=tcp:127.0.0.1:0",
  `--kms-key=${STUB_KEY_ARN}`,
  `--library-dir=${NATIVE_DIR}`,
  "--tsk-context=none",
];

/** The imports of deno.json, and one module in another's place. */
async function importMap(folder: string, module: string, inItsPlace: string): Promise<string> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  // What Deno does with the imports of a configuration file, and not with an import map: a package's modules.
  const absolute = Object.entries(imports as Record<string, string>).flatMap(([name, target]) =>
    target.startsWith(".")
      ? [[name, new URL(target, ROOT).href]]
      : [[name, target], [`${name}/`, `${target.replace("npm:", "npm:/")}/`]]
  );
  const replaced = [new URL(module, ROOT).href, new URL(inItsPlace, ROOT).href];
  const path = `${folder}/import_map.json`;
  await Deno.writeTextFile(path, JSON.stringify({ imports: Object.fromEntries([...absolute, replaced]) }));
  return path;
}

/** `main.ts` from source, with more permissions than it needs: what is not given up can be used. */
function launch(map: string, args: readonly string[]): readonly string[] {
  return [
    "run",
    "--quiet",
    "--no-prompt",
    `--config=${ROOT.pathname}deno.json`,
    `--import-map=${map}`,
    "--allow-net",
    "--allow-ffi",
    "--allow-env",
    "--allow-run",
    `--allow-read=${ROOT.pathname}`,
    `${ROOT.pathname}main.ts`,
    ...args,
  ];
}

function test(behaviour: string, run: (folder: string) => Promise<void>): void {
  Deno.test(behaviour, async () => {
    await using folder = await Folder.make();
    await run(folder.path);
  });
}

test("a workflow opens no library, reads no file and no variable, and listens nowhere, and what it throws is not reported, whatever the process was started with", async (folder) => {
  using control = new StubControl();
  // Its children start from the same source, whatever the import map of this process.
  await copyWithWorkflow(folder, "tests/helpers/prying_workflow.ts");
  await using service = await ServiceProcess.start({
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", "-A", `${folder}/main.ts`, ...SERVE],
    env: control.env,
  });
  using tsk = new Tsk();
  using client = await Client.connect(service.address);
  const { permissions } = await client.exchange({ type: "health" });
  assertEquals((permissions as string[]).filter((name) => ["ffi", "net", "env"].includes(name)), []);
  await client.request(tsk.configure(stubWrap(tsk.raw)));
  const ask = (plaintext: Uint8Array) =>
    client.exchange({ type: "process", ciphertext: tsk.seal(plaintext) });
  const reply = await ask(new Uint8Array(1));
  assertEquals(JSON.parse(new TextDecoder().decode(tsk.open(reply["result"]))), []);
  // The message that it throws is not passed to the parent.
  const words = "words of the data";
  assertEquals((await ask(new TextEncoder().encode(words)))["msg"], "internal_error");
  const told = JSON.stringify([service.lines, await client.exchange({ type: "logs" })]);
  assertEquals([told.includes("workflow_threw"), told.includes(words)], [true, false]);
  assertEquals((await service.stop()).code, 0);
});

test("an SDK process holds FFI and nothing else, whatever it was started with", async (folder) => {
  const module = "lib/enclave/kms/sdk_process/process_main.ts";
  const map = await importMap(folder, module, "tests/helpers/prying_sdk_process.ts");
  const args = launch(map, ["sdk-process", String(Deno.pid)]);
  const { code, stdout, stderr } = await runTool(Deno.execPath(), args);
  assertEquals(code, 0, stderr);
  // What it reads are its own modules: the permission names their folder, and a question without a path does
  // not see it.
  assertEquals(JSON.parse(stdout), ["ffi"]);
});
