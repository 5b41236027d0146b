/** `deno task add` in a copy of the repository: afterwards, every program is checked under its own frozen lock file. */
import { assert, assertEquals } from "@std/assert";

/** In the cache already, since another package needs it: nothing is downloaded. */
const PACKAGE = "npm:@noble/ciphers@2.4.0";

async function run(cwd: string, command: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args: [...args], cwd }).output();
  const decoder = new TextDecoder();
  assert(success, `${command} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

Deno.test("a package is added by one command, exactly, to every lock file that needs it, and the workflow can import it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const names = ["deno.json", "deno.lock", "enclave.lock", "ctl.lock", "main.ts", "ffi", "lib", "scripts"];
    await run(".", "cp", "-r", ...names, folder);
    await Deno.mkdir(`${folder}/tests`);
    await run(".", "cp", "-r", "tests/deno.lock", "tests/deps", `${folder}/tests`);
    await run(folder, Deno.execPath(), "task", "--quiet", "add", PACKAGE);

    const { imports } = JSON.parse(await Deno.readTextFile(`${folder}/deno.json`));
    assertEquals(imports["@noble/ciphers"], PACKAGE);
    const workflow = await Deno.readTextFile(`${folder}/lib/workflow.ts`);
    await Deno.writeTextFile(
      `${folder}/lib/workflow.ts`,
      `import { chacha20 } from "@noble/ciphers/chacha.js";\nexport const cipher: unknown = chacha20;\n${workflow}`,
    );
    for (
      const [lock, entry] of [
        ["enclave.lock", "main.ts"],
        ["deno.lock", "scripts/dev.ts"],
        ["tests/deno.lock", "main.ts"],
        ["ctl.lock", "scripts/ctl.ts"],
      ] as const
    ) {
      await run(
        folder,
        Deno.execPath(),
        "run",
        "-A",
        "--quiet",
        `--lock=${lock}`,
        "--frozen",
        entry,
        "--help",
      );
    }
    // The package's lines, and no others: dev does not run the AWS SDK, which it imports for types.
    const [before, after] = await Promise.all(
      ["deno.lock", `${folder}/deno.lock`].map(async (file) =>
        (await Deno.readTextFile(file)).split("\n").length
      ),
    );
    assert((after ?? 0) - (before ?? 0) < 10, `deno.lock: ${before} lines before, ${after} after`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a name that is not an npm package is refused", async () => {
  for (const args of [[], ["zod"], ["jsr:@std/assert"], ["npm:zod", "npm:ms"], ["npm:../zod"]]) {
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--quiet",
        "--lock=tests/deno.lock",
        "--frozen",
        "scripts/add_package.ts",
        ...args,
      ],
    }).output();
    assertEquals(code, 2, args.join(" "));
  }
});
