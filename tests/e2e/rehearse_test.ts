/**
 * `deno task rehearse` as a person uses it: its printed commands, documents under a root that was not named,
 * Ctrl-C.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { until } from "../helpers/deadline.ts";
import { Folder } from "../helpers/folder.ts";
import {
  makeLauncher,
  printedCommands,
  printedSetup,
  processesNaming,
  RehearsalProcess,
  runLine,
} from "../helpers/rehearsal_process.ts";

/** Without what follows it. */
const withoutRoot = (line: string) => line.replace(/ --root \S+/, "");

for (const by of ["deno", "npx"] as const) {
  Deno.test(`started by ${by}, every printed command works, in order; no document is taken without naming its root; Ctrl-C ends all`, async (t) => {
    await using place = await Folder.make();
    const launcher = await makeLauncher(place, by);
    await using rehearsal = await RehearsalProcess.start(launcher);
    const [, folder = ""] = /^Rehearsal in (\S+):/.exec(rehearsal.stdout) ?? [];
    assert(folder !== "");
    const [, printed = ""] = rehearsal.stdout.split("Run the commands");
    const setup = printedSetup(printed);
    assertStringIncludes(setup, `${launcher.words} task --quiet ctl `);
    const commands = printedCommands(printed);
    assertEquals(
      commands.map(({ line }) => line),
      printed.replace(setup, "").match(/(?<=^ {2})[^# ].*$/gm) ?? [],
    );
    assertEquals(commands.map(({ line }) => line.length).filter((length) => length > 170), []);
    assert(commands.length > 15);
    const refused: string[] = [];
    for (const { says, line, exitCode } of commands) {
      await t.step(says, async () => {
        if (exitCode === 0 && line.includes(" --root ")) {
          const without = withoutRoot(line).replace(/ > \S+$/, "");
          const { code, stdout, stderr } = await runLine(`${setup}${without}`, launcher.otherPath);
          const said = `${stdout}${stderr}`;
          assertEquals(code, 1, said);
          assertMatch(said, /its first CA is not the pinned root/);
          refused.push(/^(?:ctl|as \S+) (\S+ \S+)/.exec(line)?.[1] ?? "");
        }
        const { code, stdout, stderr } = await runLine(`${setup}${line}`, launcher.otherPath);
        assertEquals(code, exitCode, `${line}\n${stdout}${stderr}`);
      });
    }
    assertEquals([...new Set(refused)].sort(), [
      "account create",
      "account show",
      "attest verify",
      "client attest",
      "client configure",
      "client process",
      "gateway init",
      "gateway sign",
      "gateway status",
    ]);
    const log = await Deno.readTextFile(`${folder}/emulator.log`);
    assertMatch(log, /"AccessDenied/);
    rehearsal.interrupt();
    const { code } = await rehearsal.ended();
    assertEquals([code, rehearsal.stderr], [0, ""]);
    assertEquals(await processesNaming(folder), []);
    assertEquals(await Deno.stat(folder).then(() => true, () => false), false);
  });
}

Deno.test("Ctrl-C while it starts ends all of it too", async () => {
  await using folder = await Folder.make();
  const dir = `${folder.path}/kept`;
  await using rehearsal = new RehearsalProcess(["--dir", dir]);
  const hasLog = () => Deno.stat(`${dir}/emulator.log`).then(() => true, () => false);
  await until("the emulator to start", hasLog, 60_000);
  rehearsal.interrupt();
  const { code } = await rehearsal.ended();
  assertEquals([code, rehearsal.stdout, rehearsal.stderr], [0, "", ""]);
  assertEquals(await processesNaming(dir), []);
  assertEquals(((await Deno.stat(`${dir}/nsm-root.pem.key`)).mode ?? 0) & 0o777, 0o600);
});

for (
  const [what, args, message] of [
    ["a folder that is there", (path: string) => ["--dir", path], /Name a folder that does not exist yet/],
    [
      "measurements that are none",
      (path: string) => ["-m", `${path}/garbage.json`],
      /garbage\.json for --measurements: Cannot read the measurements/,
    ],
    ["measurements that are not there", (path: string) => ["-m", `${path}/none.json`], /none\.json/],
  ] as const
) {
  Deno.test(`a rehearsal with ${what} is refused, and leaves nothing running`, async () => {
    await using folder = await Folder.make({ "garbage.json": "garbage" });
    await using rehearsal = new RehearsalProcess(args(folder.path));
    const { code } = await rehearsal.ended();
    assertEquals(code, 2, rehearsal.stderr);
    assertMatch(rehearsal.stderr, message);
  });
}
