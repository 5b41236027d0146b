/** `deno task test` on small suites: what it runs first, and its last lines. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { runTool } from "../helpers/tools.ts";
import { SUITES } from "../../scripts/test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PASSES = 'Deno.test("passes", () => {});\n';

/** Runs it in a copy of the source with other tests. @param builds the command of the build task */
async function run(tests: Readonly<Record<string, string>>, builds: string) {
  await using folder = await Folder.make(tests);
  const copied = ["lib", "ffi", "scripts"].map((name) => ROOT + name);
  await runTool("cp", ["-r", ...copied, folder.path]);
  await Deno.copyFile(`${ROOT}tests/deno.lock`, `${folder.path}/tests/deno.lock`);
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  config.tasks.build = builds;
  await folder.write("deno.json", JSON.stringify({ ...config, lock: false }));
  const suites = Object.keys(tests).map((path) => path.split("/")[1] ?? "");
  const env = { NO_COLOR: "1" };
  const { code, stdout } = await runTool(Deno.execPath(), ["task", "test", ...suites], {
    cwd: folder.path,
    env,
  });
  return { code, stdout, last: stdout.slice(stdout.indexOf("\nwall time:")).split("\n").slice(2) };
}

Deno.test("what needs no builds is tested first; the last lines name what was skipped and what failed, and the counts stand alone", async () => {
  const { code, stdout, last } = await run({
    "tests/contract/a_test.ts": PASSES,
    "tests/unit/a_test.ts": `${PASSES}Deno.test.ignore("this, since there is no cargo", () => {});
Deno.test("fails", () => {
  throw new Error("9 passed | 9 failed");
});
Deno.test("has a step", async (t) => {
  await t.step("which fails", () => {
    throw new Error("no");
  });
});
`,
  }, "echo built");
  assertEquals([code, ...last], [
    1,
    "",
    "skipped: unit: ./tests/unit/a_test.ts => this, since there is no cargo",
    "1 skipped",
    "",
    "failed: unit: fails => ./tests/unit/a_test.ts:3:6",
    "failed: unit: has a step ... which fails => ./tests/unit/a_test.ts:7:11",
    "",
    "2 passed, 2 failed",
    "",
  ]);
  assertMatch(stdout, /== unit: [^]*== builds [^]*built native\n[^]* s: native is ready\n[^]*== contract: /);
});

Deno.test("nothing is listed where nothing failed and nothing was skipped", async () => {
  const { code, last } = await run({ "tests/unit/a_test.ts": PASSES }, "exit 1");
  assertEquals([code, ...last], [0, "", "1 passed, 0 failed", ""]);
});

for (
  const [what, tests, builds, failed] of [
    [
      "a build that fails",
      { "tests/kms_e2e/a_test.ts": PASSES },
      "exit 1",
      "builds: peers, so the suites that need it were not run",
    ],
    [
      "an error outside of a test",
      { "tests/unit/a_test.ts": 'throw new Error("no");\n' },
      "",
      "unit: ./tests/unit/a_test.ts (uncaught error)",
    ],
    [
      "a test that does not compile",
      { "tests/unit/a_test.ts": "export const a: number = '';\n" },
      "",
      "unit: the suite did not run to its end",
    ],
  ] as const
) {
  Deno.test(`${what} counts as failed, and is named`, async () => {
    const { code, last } = await run(tests, builds);
    assertEquals([code, ...last], [1, "", `failed: ${failed}`, "", "0 passed, 1 failed", ""]);
  });
}

Deno.test("deno test without arguments or permissions passes, the mocked dlopen included", async () => {
  const { code, stdout } = await runTool(Deno.execPath(), ["test"], { cwd: ROOT, env: { NO_COLOR: "1" } });
  const [, passed = ""] = /^ok \| (\d+) passed .*\| 0 failed/m.exec(stdout) ?? [];
  assert(code === 0 && Number(passed) > 100, stdout.slice(-2_000));
  for (const path of ["tests/contract/mock_test.ts", "tests/property/", "tests/unit/"]) {
    assertMatch(stdout, new RegExp(`^running \\d+ tests? from \\./${path}`, "m"));
  }
});

Deno.test("house, unit and property build nothing and can start no program", () => {
  const alone = SUITES.filter(({ needs }) => needs === undefined);
  assertEquals(alone.map(({ name }) => name), ["house", "unit", "property"]);
  const permissions = alone.flatMap((suite) => suite.permissions);
  assertEquals(permissions.filter((flag) => /^--allow-(all|run|ffi$)|^-A/.test(flag)), []);
});
