/** Mistakes in a workflow: what `deno task dev` and `deno task compile` say of them, in a copy of the repository. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { within } from "../helpers/deadline.ts";

const RUN_MS = 60_000;
const NAMES = ["deno.json", "deno.lock", "enclave.lock", "main.ts", "ffi", "lib", "scripts", "config"];
const HINT =
  'The package left-pad was not added to this project: run deno task add npm:left-pad, and import it by its name: from "left-pad".';

async function run(cwd: string, command: string, ...args: readonly string[]) {
  const child = new Deno.Command(command, { args: [...args], cwd, stdout: "piped", stderr: "piped" }).spawn();
  const { code, stdout, stderr } = await within(child.output(), `${command} ${args.join(" ")}`, RUN_MS);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const MISTAKES:
  readonly (readonly [string, (workflow: string) => string, readonly string[], number, string])[] = [
    [
      "a type error, under dev: it is printed, and the service starts",
      (workflow) => workflow.replace("return plaintext;", "return 5;"),
      ["dev", "--help"],
      0,
      "Type 'number' is not assignable to type",
    ],
    [
      "a type error, under compile",
      (workflow) => workflow.replace("return plaintext;", "return 5;"),
      ["compile"],
      69,
      "Type 'number' is not assignable to type",
    ],
    [
      "a package that was not added, under dev",
      (workflow) => `import pad from "left-pad";\n${workflow}\nexport const other: unknown = pad;\n`,
      ["dev", "--help"],
      1,
      HINT,
    ],
    [
      "a package that was not added, under compile",
      (workflow) => `import pad from "left-pad";\n${workflow}\nexport const other: unknown = pad;\n`,
      ["compile"],
      69,
      HINT,
    ],
  ];
for (const [what, change, task, code, words] of MISTAKES) {
  Deno.test(`a workflow with ${what}`, async () => {
    await using folder = await Folder.make();
    await run(".", "cp", "-r", ...NAMES, folder.path);
    const file = `${folder.path}/lib/workflow.ts`;
    await Deno.writeTextFile(file, change(await Deno.readTextFile(file)));
    const result = await run(folder.path, Deno.execPath(), "task", "--quiet", ...task);
    assertStringIncludes(result.stderr, words);
    assertEquals([result.code, result.stdout.includes("usage:")], [code, code === 0]);
  });
}
