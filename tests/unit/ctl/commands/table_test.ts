/** Every command of `denclavectl`, from the table: its help, its options, its mistakes, its completion. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { OptionSpec } from "../../../../lib/shared/cli/options.ts";
import { COMMANDS } from "../../../../lib/ctl/commands/main.ts";
import { tryCtl } from "../../../helpers/ctl_io.ts";

Deno.test("every command shows its usage and its options, as help and after help", async () => {
  const all = (await tryCtl(["--help"])).stdout;
  for (const { path, summary, options } of COMMANDS) {
    const { code, stdout } = await tryCtl([...path.split(" "), "--help"], {
      env: { PORT: "x", REGION: "x" },
    });
    assertEquals([code, stdout.startsWith(`usage: denclavectl ${path}`)], [0, true], path);
    for (const { name } of options) assertStringIncludes(stdout, ` --${name}`, path);
    assertEquals((await tryCtl(["help", ...path.split(" ")])).stdout, stdout);
    assertMatch(all, new RegExp(`^  ${path} +${summary.replace(/[.*+?()[\]{}|\\^$]/g, "\\$&")}$`, "m"));
  }
});

Deno.test("every command refuses an unknown option with a suggestion, and an argument more than it takes", async () => {
  for (const { path, positionals } of COMMANDS) {
    const typo = await tryCtl([...path.split(" "), "--halp"]);
    assertEquals([typo.code, typo.stdout], [2, ""], path);
    assertMatch(typo.stderr, /Unknown option --halp\nDid you mean --help\? --help lists the options/, path);
    if (positionals === Infinity) continue;
    const more = await tryCtl([...path.split(" "), "first", "second", "third"]);
    assertEquals(more.code, 2, path);
    assertStringIncludes(more.stderr, "Unexpected argument", path);
  }
});

Deno.test("with --json every command prints an error as one JSON object, with the same exit code", async () => {
  for (const { path, options } of COMMANDS.filter((command) => command.options.some(isJson))) {
    const valued = options.find(({ value }) => value !== undefined);
    const argv = [
      ...path.split(" "),
      "--json",
      ...valued === undefined ? ["a", "b", "c"] : [`--${valued.name}`],
    ];
    const { code, stdout, stderr } = await tryCtl(argv);
    assertEquals([code, stdout], [2, ""], path);
    const { error } = JSON.parse(stderr);
    assertEquals([error.code, typeof error.message, typeof error.hint], ["usage", "string", "string"], path);
  }
});

const isJson = ({ name }: OptionSpec) => name === "json";
const NEAR: readonly (readonly [readonly string[], RegExp])[] = [
  [["polcy"], /Unknown command "polcy"\nDid you mean policy\?/],
  [["policy", "lnit"], /Unknown command "lnit"\nDid you mean (lint|init)\?/],
  [["eif"], /Which command of eif\?\nOne of: describe, verify, build, reproduce, trust-store\./],
  [["completion", "powershell"], /Unknown command "powershell"\nCommands: bash, zsh, fish, words\./],
  [["--json", "client", "ping"], /Which command\? --json comes after it/],
  [["client", "--connect", "unix:a"], /Which command of client\?/],
];
for (const [argv, expected] of NEAR) {
  Deno.test(`denclavectl ${argv.join(" ")} is a usage error that says what to write`, async () => {
    const { code, stdout, stderr } = await tryCtl(argv);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, expected);
  });
}

Deno.test("the help of the program names every exit code, and that of a group only its own commands", async () => {
  const all = await tryCtl(["--help"]);
  assertEquals([(await tryCtl(["help"])).stdout, (await tryCtl([])).stdout], [all.stdout, all.stdout]);
  for (const code of [0, 1, 2, 69, 70, 141]) assertMatch(all.stdout, new RegExp(`\\b${code} [a-z]`));
  const [one, about] = [await tryCtl(["policy", "--help"]), await tryCtl(["help", "policy"])];
  assertEquals([one.code, one.stdout, one.stdout.includes("eif build")], [0, about.stdout, false]);
  const versions = await Promise.all(
    [["--version"], ["policy", "lint", "--version"]].map((argv) => tryCtl(argv)),
  );
  for (const { stdout } of versions) assertMatch(stdout, /^denclavectl \d+\.\d+\.\d+\n$/);
});

/** All options, with the commands that have them. */
const OPTIONS = COMMANDS.flatMap(({ path, options }) => options.map((option) => ({ path, option })));

/** Names of options that stand for something else in one command, and why that is no mistake. */
const OTHERWISE: readonly string[] = [
  "policy iam --key", // several keys
  "up --init", // writes the first file; that of eif build names a program
];

Deno.test("an option means the same in every group: one short form, one variable, one kind of value", () => {
  const forms = new Map<string, string>();
  const shorts = new Map<string, string>();
  for (const { path, option: { name, short, env, value, multiple = false } } of OPTIONS) {
    if (OTHERWISE.includes(`${path} --${name}`)) continue;
    const form = JSON.stringify({ short, env, value, multiple });
    assertEquals(forms.get(name) ?? form, form, `${path} --${name}`);
    forms.set(name, form);
    if (short === undefined) continue;
    assertEquals(shorts.get(short) ?? name, name, `${path} -${short}`);
    shorts.set(short, name);
  }
  const wanted = { c: "cid", p: "port", k: "key", m: "measurements", r: "region", t: "table" };
  assertEquals(Object.fromEntries(Object.keys(wanted).map((short) => [short, shorts.get(short)])), wanted);
});

Deno.test("every variable of denclavectl has its prefix, but for those that other programs define", () => {
  const ofOthers = /^(?:AWS_|NITRO_CLI_|SOURCE_DATE_EPOCH$)/;
  const names = OPTIONS.flatMap(({ option: { env } }) => env === undefined ? [] : [env]);
  assertEquals(names.filter((name) => !name.startsWith("DENCLAVE_") && !ofOthers.test(name)), []);
  for (const name of ["CONNECT", "CID", "PORT", "STORE", "TABLE", "REGION", "KMS_KEY", "CONFIG"]) {
    assert(names.includes(`DENCLAVE_${name}`), name);
  }
});

Deno.test("completion offers every command of each group, and every option of each command", async () => {
  const complete = async (...words: string[]) =>
    (await tryCtl(["completion", "words", "--", ...words])).stdout.split("\n").map((line) =>
      line.split("\t")[0]
    );
  for (const { path, options } of COMMANDS) {
    const words = path.split(" ");
    for (const index of words.keys()) {
      const offered = await complete(...words.slice(0, index), "");
      assertEquals(offered.includes(words[index]), true, path);
      assertEquals((await complete("help", ...words.slice(0, index), words[index] ?? ""))[0], words[index]);
    }
    const offered = await complete(...words, "-");
    for (const { name } of options) assertEquals(offered.includes(`--${name}`), true, `${path} --${name}`);
  }
});
