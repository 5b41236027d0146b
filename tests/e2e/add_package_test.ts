/**
 * `deno task add` in a copy of the repository: afterwards, every program is checked under its own frozen lock
 * file.
 */
import { assert, assertEquals } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { runTool } from "../helpers/tools.ts";

/** In the cache already, since another package needs it: nothing is downloaded. */
const PACKAGE = "npm:@noble/ciphers@2.4.0";

async function run(cwd: string, command: string, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await runTool(command, args, { cwd });
  assertEquals(code, 0, `${command} ${args.join(" ")}: ${stderr}`);
}

/** Lock files, each with a program that it is for. */
const LOCKS = [
  ["enclave.lock", "main.ts"],
  ["deno.lock", "scripts/dev.ts"],
  ["tests/deno.lock", "main.ts"],
  ["ctl.lock", "scripts/ctl.ts"],
] as const;

Deno.test("a package is added by one command, exactly, to every lock file that needs it, and the workflow can import it", async () => {
  await using folder = await Folder.make();
  const { path } = folder;
  const names = ["deno.json", "deno.lock", "enclave.lock", "ctl.lock", "main.ts", "ffi", "lib", "scripts"];
  await run(".", "cp", "-r", ...names, path);
  await Deno.mkdir(`${path}/tests`);
  await run(".", "cp", "-r", "tests/deno.lock", "tests/deps", `${path}/tests`);
  await run(path, Deno.execPath(), "task", "--quiet", "add", PACKAGE);

  const { imports } = JSON.parse(await Deno.readTextFile(`${path}/deno.json`));
  assertEquals(imports["@noble/ciphers"], PACKAGE);
  const workflow = await Deno.readTextFile(`${path}/lib/workflow.ts`);
  await Deno.writeTextFile(
    `${path}/lib/workflow.ts`,
    `import { chacha20 } from "@noble/ciphers/chacha.js";\nexport const cipher: unknown = chacha20;\n${workflow}`,
  );
  for (const [lock, entry] of LOCKS) {
    await run(path, Deno.execPath(), "run", "-A", "--quiet", `--lock=${lock}`, "--frozen", entry, "--help");
  }
  // The package's lines, and no others: dev does not run the AWS SDK, which it imports for types.
  const [before = 0, after = 0] = await Promise.all(
    ["deno.lock", `${path}/deno.lock`].map(async (file) =>
      (await Deno.readTextFile(file)).split("\n").length
    ),
  );
  assert(after - before < 10, `deno.lock: ${before} lines before, ${after} after`);
});

Deno.test("a name that is not an npm package is refused", async () => {
  for (const args of [[], ["zod"], ["jsr:@std/assert"], ["npm:zod", "npm:ms"], ["npm:../zod"]]) {
    const flags = ["run", "--no-prompt", "--quiet", "--lock=tests/deno.lock", "--frozen"];
    const { code } = await runTool(Deno.execPath(), [...flags, "scripts/add_package.ts", ...args]);
    assertEquals(code, 2, args.join(" "));
  }
});
