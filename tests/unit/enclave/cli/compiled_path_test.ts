/** Where a compiled binary has to be. */
import { assertEquals } from "@std/assert";
import { compiledPathArgument, takeCompiledPath } from "../../../../lib/enclave/cli/compiled_path.ts";

Deno.test("the argument of the compiler is taken off the command line, and only there", () => {
  const argument = compiledPathArgument("/app/denclave");
  assertEquals(takeCompiledPath([argument, "serve", "-p", "1"]), {
    compiledFor: "/app/denclave",
    rest: ["serve", "-p", "1"],
  });
  assertEquals(takeCompiledPath(["serve", argument]), { compiledFor: undefined, rest: ["serve", argument] });
  assertEquals(takeCompiledPath([]), { compiledFor: undefined, rest: [] });
});
