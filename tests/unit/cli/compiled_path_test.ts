/** Where a compiled binary has to be. */
import { assertEquals } from "@std/assert";
import {
  type BinarySource,
  compiledPathArgument,
  compiledPathOf,
  takeCompiledPath,
} from "../../../lib/compiled_path.ts";

Deno.test("the argument of the compiler is taken off the command line, and only there", () => {
  const argument = compiledPathArgument("/app/denclave");
  assertEquals(takeCompiledPath([argument, "serve", "-p", "1"]), {
    compiledFor: "/app/denclave",
    rest: ["serve", "-p", "1"],
  });
  assertEquals(takeCompiledPath(["serve", argument]), { compiledFor: undefined, rest: ["serve", argument] });
  assertEquals(takeCompiledPath([]), { compiledFor: undefined, rest: [] });
});

/** A file of zeros with a text at a place, read in small portions. */
function binaryWith(text: string, at: number): BinarySource {
  const bytes = new Uint8Array(at + text.length + 10);
  bytes.set(new TextEncoder().encode(text), at);
  return {
    size: bytes.length,
    read: (from, into) => {
      const part = bytes.subarray(from, from + Math.min(into.length, 300_000));
      into.set(part);
      return Promise.resolve(part.length);
    },
  };
}

for (const at of [0, 5, 1024 * 1024 - 20, 1024 * 1024, 3 * 1024 * 1024 - 1]) {
  Deno.test(`a binary's bytes say what it was compiled for, from byte ${at} on`, async () => {
    const text = `"a" const P = "--compiled-for="; {"argv":["${compiledPathArgument("/opt/x y")}"],"a":1}`;
    assertEquals(await compiledPathOf(binaryWith(text, at)), "/opt/x y");
  });
}

Deno.test("another program's bytes say nothing", async () => {
  for (const text of ['"--compiled-for="', '"--compiled-for=/never-ends', ""]) {
    assertEquals(await compiledPathOf(binaryWith(text, 100)), undefined);
  }
});
