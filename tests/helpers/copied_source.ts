/**
 * The product's source in a folder of a test, with another workflow. A service and its children start from it.
 *
 * @module
 */

const ROOT = new URL("../..", import.meta.url).pathname;

/** Copies it. @param workflow the module in the place of lib/workflow.ts, relative to the repository */
export async function copyWithWorkflow(folder: string, workflow: string): Promise<void> {
  const parts = ["main.ts", "deno.json", "deno.lock", "ffi", "lib"].map((part) => `${ROOT}${part}`);
  const { success } = await new Deno.Command("cp", { args: ["-r", ...parts, folder] }).output();
  if (!success) throw new Error(`cp to ${folder} failed`);
  await Deno.writeTextFile(`${folder}/lib/workflow.ts`, `export * from "file://${ROOT}${workflow}";\n`);
}
