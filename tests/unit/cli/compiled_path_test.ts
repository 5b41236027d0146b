/** Where a compiled binary has to be. */
import { assertEquals } from "@std/assert";
import { compiledPathArgument, compiledPathOf, takeCompiledPath } from "../../../lib/compiled_path.ts";

Deno.test("the argument of the compiler is taken off the command line, and only there", () => {
  const argument = compiledPathArgument("/app/denclave");
  assertEquals(takeCompiledPath([argument, "serve", "-p", "1"]), {
    compiledFor: "/app/denclave",
    rest: ["serve", "-p", "1"],
  });
  assertEquals(takeCompiledPath(["serve", argument]), { compiledFor: undefined, rest: ["serve", argument] });
  assertEquals(takeCompiledPath([]), { compiledFor: undefined, rest: [] });
});

Deno.test("a binary's bytes say what it was compiled for", () => {
  const text = `\x7fELF "no" const P = "--compiled-for="; {"argv":["${
    compiledPathArgument("/opt/x y")
  }"],"a":1}`;
  assertEquals(compiledPathOf(new TextEncoder().encode(text)), "/opt/x y");
  assertEquals(compiledPathOf(new TextEncoder().encode('\x7fELF "--compiled-for="')), undefined);
  assertEquals(compiledPathOf(new Uint8Array(0)), undefined);
});
