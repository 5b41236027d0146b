/** `denclavectl` as shells and scripts see it: completion, help by group, errors as JSON. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { runCtl } from "../helpers/ctl_process.ts";

/** What bash offers for words; the last one is being typed. */
const COMPLETE = `
source "$0"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_denclavectl
printf '%s\\n' "\${COMPREPLY[@]}"
`;

Deno.test("completion bash: groups, commands, a command's own options, files and folders", async () => {
  await using folder = await Folder.make();
  const { code, stdout, stderr } = await runCtl(["completion", "bash"]);
  assertEquals([code, stderr], [0, ""]);
  await folder.write("completion", stdout);
  await folder.write("image.eif", "");
  await Deno.mkdir(`${folder.path}/images`);
  const complete = async (...words: readonly string[]) => {
    const { stdout, stderr } = await new Deno.Command("bash", {
      args: ["-c", COMPLETE, `${folder.path}/completion`, "denclavectl", ...words],
      cwd: folder.path,
    }).output();
    assertEquals(new TextDecoder().decode(stderr), "");
    return new TextDecoder().decode(stdout).trim().split("\n").sort();
  };
  assertEquals(await complete("e"), ["eif", "emulator"]);
  assertEquals(await complete("eif", "re"), ["reproduce"]);
  assertEquals(await complete("eif", "build", "--sys"), ["--sysroot"]);
  assertEquals(await complete("bridge", "--lis"), ["--listen"]);
  assertEquals(await complete("bridge", "--listen", "x", "--allow"), ["--allow-origin"]);
  assertEquals(await complete("eif", "describe", "im"), ["image.eif", "images"]);
  assertEquals(await complete("eif", "build", "--lib-dir", "im"), ["images"]);
  assertEquals(await complete("eif", "build", "--kernel", "im"), ["image.eif", "images"]);
  assertEquals(await complete("eif", "build", "--name", "im"), [""]);
});

Deno.test("help: all groups, or one alone", async () => {
  const [all, help, one, about] = await Promise.all([
    runCtl(["--help"]),
    runCtl(["help"]),
    runCtl(["policy", "--help"]),
    runCtl(["help", "policy"]),
  ]);
  assertEquals([all.code, one.code, help.stdout, about.stdout], [0, 0, all.stdout, one.stdout]);
  for (const command of ["eif build", "policy lint", "bridge", "completion bash"]) {
    assertStringIncludes(all.stdout, `  ${command} `);
  }
  assertEquals([one.stdout.includes("policy lint"), one.stdout.includes("eif")], [true, false]);
});

Deno.test("with --json an error is JSON on stderr, with the exit code that it has without", async () => {
  const cases: readonly (readonly [readonly string[], number, string])[] = [
    [["account", "list", "--store", "nonsense"], 2, "usage"],
    [["client", "ping", "--connect", "tcp:127.0.0.1:1"], 69, "connect_failed"],
    [["eif", "verify", "/nonexistent.eif"], 2, "eif_unreadable"],
  ];
  await Promise.all(cases.map(async ([args, code, name]) => {
    const [words, json] = await Promise.all([runCtl(args), runCtl([...args, "--json"])]);
    assertEquals([words.code, json.code, json.stdout], [code, code, ""], words.stderr);
    const { error } = JSON.parse(json.stderr);
    assertEquals(error.code, name);
    assertStringIncludes(words.stderr, error.message);
    assertStringIncludes(words.stderr, error.hint ?? "");
  }));
});
