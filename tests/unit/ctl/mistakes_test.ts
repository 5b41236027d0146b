/** What `denclavectl` says about mistakes of a command line. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UsageError } from "../../../lib/cli/options.ts";
import type { CtlIo } from "../../../lib/ctl/io.ts";
import { runCtl } from "../../../lib/ctl/main.ts";

function ioOf(print: (text: string) => void = () => {}): CtlIo {
  return {
    stdout: print,
    stderr: () => {},
    stdoutIsTerminal: false,
    stderrIsTerminal: false,
    env: () => undefined,
    untilSignal: () => Promise.resolve("SIGTERM"),
  };
}

/** Every command that the help lists, as its words. */
async function commandsOfHelp(): Promise<readonly (readonly string[])[]> {
  let text = "";
  await runCtl(["--help"], ioOf((piece) => void (text += piece)));
  return [...text.matchAll(/^ {2}([a-z][a-z|-]*)(?: ([a-z][a-z|-]*))?(?: {2}|$)/gm)].flatMap((
    [, group = "", commands],
  ) => commands === undefined ? [[group]] : commands.split("|").map((command) => [group, command]));
}

Deno.test("every command refuses an argument more than it takes", async () => {
  const commands = await commandsOfHelp();
  assertEquals(commands.length > 35, true);
  for (const command of commands) {
    const error = await assertRejects(
      () => runCtl([...command, "first", "second", "third"], ioOf()),
      UsageError,
      undefined,
      command.join(" "),
    );
    assertStringIncludes(error.message, "Unexpected argument", command.join(" "));
  }
});
