/** What `denclavectl eif` shows while it works, and where. */
import { assertEquals, assertMatch } from "@std/assert";
import { EXIT } from "../../../../lib/shared/cli/options.ts";
import { bytesSource } from "../../../../lib/ctl/eif/mod.ts";
import { imageOf, smallParts } from "../../../fixtures/eif.ts";
import { callCtl } from "../../../helpers/ctl_io.ts";
import { Folder } from "../../../helpers/folder.ts";

const run = (command: string, args: readonly string[], stderrIsTerminal: boolean) =>
  callCtl(["eif", command, ...args], stderrIsTerminal ? { terminal: "stderr" } : {});

const LARGE = bytesSource(new Uint8Array(5_000_000), "large");

Deno.test("a large image has a progress line while it is read, on a terminal alone, and never on stdout", async () => {
  await using folder = await Folder.make({
    "large.eif": await imageOf(smallParts({ kernel: LARGE })),
    "small.eif": await imageOf(smallParts()),
  });
  const large = `${folder.path}/large.eif`;
  for (const command of ["describe", "verify"]) {
    const [terminal, pipe] = [await run(command, [large], true), await run(command, [large], false)];
    assertEquals([terminal.code, pipe.code, pipe.stderr, pipe.stdout], [
      EXIT.ok,
      EXIT.ok,
      "",
      terminal.stdout,
    ]);
    assertMatch(terminal.stderr, /^\rreading, MB \[.*\r.*\] 5\/5\n$/s);
    assertEquals((await run(command, [`${folder.path}/small.eif`], true)).stderr, "");
  }
});
