/** The Go module: its own tests, its form, and that it needs nothing beside the standard library. */
import { assertEquals } from "@std/assert";
import { findGo, GO_ENV } from "../helpers/languages.ts";
import { runTool } from "../helpers/tools.ts";

const MODULE = new URL("../../clients/go", import.meta.url).pathname;
const go = findGo("the Go module");

for (
  const [what, args] of [
    ["passes its own tests", ["test", "./..."]],
    ["passes go vet", ["vet", "./..."]],
    ["compiles for another system, without vsock", ["build", "-o", "/dev/null", "."]],
  ] as const
) {
  Deno.test({
    name: `the Go module ${what}`,
    ignore: go === undefined,
    fn: async () => {
      const env = args[0] === "build" ? { ...GO_ENV, GOOS: "darwin", GOARCH: "arm64" } : GO_ENV;
      const ran = await runTool(go ?? "", args, { cwd: MODULE, env });
      assertEquals(ran.code, 0, ran.stdout + ran.stderr);
    },
  });
}
