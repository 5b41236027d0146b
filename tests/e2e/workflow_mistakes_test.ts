/**
 * Mistakes in a workflow: what `deno task dev` and `deno task compile` say of them, in a copy of the
 * repository.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { runTool } from "../helpers/tools.ts";

const NAMES = ["deno.json", "deno.lock", "enclave.lock", "main.ts", "ffi", "lib", "scripts", "config"];
const HINT =
  'The package left-pad was not added to this project: run deno task add npm:left-pad, and import it by its name: from "left-pad".';

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
      "a package that was not added, under dev: how to add it is printed, and the service starts",
      (workflow) => `import pad from "left-pad";\n${workflow}\nexport const other: unknown = pad;\n`,
      ["dev", "--help"],
      0,
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
    await runTool("cp", ["-r", ...NAMES, folder.path]);
    const file = `${folder.path}/lib/workflow.ts`;
    await Deno.writeTextFile(file, change(await Deno.readTextFile(file)));
    const result = await runTool(Deno.execPath(), ["task", "--quiet", ...task], { cwd: folder.path });
    assertStringIncludes(result.stderr, words);
    assertEquals([result.code, result.stdout.includes("usage:")], [code, code === 0]);
  });
}
