/** The Go module: its own tests, its form, and that it needs nothing beside the standard library. */
import { assertEquals } from "@std/assert";
import { findTool, runTool } from "../helpers/tools.ts";

const MODULE = new URL("../../clients/go", import.meta.url).pathname;
/** No module is downloaded, and no other version of Go. */
const ENV = {
  GOTOOLCHAIN: "local",
  GOFLAGS: "-mod=readonly -buildvcs=false",
  GOPROXY: "off",
  CGO_ENABLED: "0",
};
const go = findTool(
  [["go", "version"], ["/usr/local/go/bin/go", "version"]],
  "the Go module, since there is no go (Debian: golang-go)",
);

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
      const env = args[0] === "build" ? { ...ENV, GOOS: "darwin", GOARCH: "arm64" } : ENV;
      const ran = await runTool(go ?? "", args, { cwd: MODULE, env });
      assertEquals(ran.code, 0, ran.stdout + ran.stderr);
    },
  });
}
