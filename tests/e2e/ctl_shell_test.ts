/** The completion of `denclavectl`, in the shells that are installed. */
import { assertEquals } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { runCtl } from "../helpers/ctl_process.ts";
import { installCommands } from "../helpers/documented.ts";
import { findTool, runTool } from "../helpers/tools.ts";

/** How each shell shows what it offers for words, the last of which is being typed. */
const COMPLETE = {
  bash:
    `source "$0"; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _denclavectl; printf '%s\\n' "\${COMPREPLY[@]}"`,
  // In place of zsh's own functions, which only its line editor has.
  zsh:
    `compdef() {}; _describe() { print -l -- \${\${(P)2}%%:*} }; _files() { if [[ $1 == -/ ]]; then ls -d */; else ls -d $words[-1]*; fi }
    source "$0"; words=("$@") CURRENT=$#; _denclavectl`,
  fish: "source $argv[1]; complete -C (string join ' ' -- $argv[2..-1]) | string replace -r '\\t.*' ''",
} as const;

/** Words, and what is offered. */
const OFFERED: readonly (readonly [readonly string[], readonly string[]])[] = [
  [["e"], ["eif", "emulator"]],
  [["eif", "re"], ["reproduce"]],
  [["eif", "build", "--sys"], ["--sysroot"]],
  [["bridge", "--lis"], ["--listen"]],
  [["bridge", "--listen", "x", "--allow"], ["--allow-origin"]],
  [["eif", "describe", "im"], ["image.eif", "images"]],
  [["eif", "build", "--lib-dir", "im"], ["images"]],
  [["eif", "build", "--kernel", "im"], ["image.eif", "images"]],
  [["eif", "build", "--image-name", "im"], []],
];

for (const shell of ["bash", "zsh", "fish"] as const) {
  if (findTool([[shell, "--version"]], `the completion of ${shell}, which is not installed`) === undefined) {
    continue;
  }
  Deno.test(`completion ${shell}: groups, commands, a command's own options, files and folders`, async () => {
    await using folder = await Folder.make({ "image.eif": "" });
    await Deno.mkdir(`${folder.path}/images`);
    const { code, stdout, stderr } = await runCtl(["completion", shell]);
    assertEquals([code, stderr], [0, ""]);
    await folder.write("completion", stdout);
    const env = { PATH: `${await installCommands(folder.path)}:${Deno.env.get("PATH") ?? ""}` };
    for (const [words, offered] of OFFERED) {
      const args = ["-c", COMPLETE[shell], `${folder.path}/completion`, "denclavectl", ...words];
      const { stdout, stderr } = await runTool(shell, args, { cwd: folder.path, env });
      assertEquals(stderr, "");
      const found = stdout.split("\n").filter((word) => word !== "").map((word) => word.replace(/\/$/, ""));
      assertEquals(found.sort(), offered, words.join(" "));
    }
  });
}
