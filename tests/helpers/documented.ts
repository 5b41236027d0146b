/**
 * The commands of a document, run as its reader would run them: every `sh` block, in order, in one folder. A block that cannot be run here says
 * so in its first line, ` ```sh norun: <reason> `.
 *
 * @module
 */
import { within } from "./service_process.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const BLOCK_MS = 120_000;

/** A block of commands. */
export interface CommandBlock {
  /** The nearest heading above it. */
  readonly heading: string;
  /** Line of its first command. */
  readonly line: number;
  readonly commands: string;
  /** Why it is not run; undefined for one that is. */
  readonly norun: string | undefined;
}

/** The `sh` blocks of a document, in order. @param path from the repository's root */
export async function commandBlocks(path: string): Promise<readonly CommandBlock[]> {
  const blocks: CommandBlock[] = [];
  let heading = "";
  let open: { line: number; norun: string | undefined; lines: string[] } | undefined;
  for (const [index, line] of (await Deno.readTextFile(`${ROOT}${path}`)).split("\n").entries()) {
    if (open !== undefined) {
      if (line.startsWith("```")) {
        blocks.push({ heading, line: open.line, commands: open.lines.join("\n"), norun: open.norun });
        open = undefined;
      } else open.lines.push(line);
      continue;
    }
    const [, title] = /^#+ (.*)$/.exec(line) ?? [];
    if (title !== undefined) heading = title;
    const [, info] = /^```sh\b ?(.*)$/.exec(line) ?? [];
    if (info === undefined) continue;
    open = {
      line: index + 2,
      norun: info.startsWith("norun:") ? info.slice(6).trim() : undefined,
      lines: [],
    };
  }
  return blocks;
}

/** What a reader has: a folder, values for the placeholders, an environment. */
export interface Reader {
  readonly cwd: string;
  /** Such as `<key arn>`, with what the reader puts there. */
  readonly placeholders?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

/** What a block printed. */
export interface BlockResult {
  readonly block: CommandBlock;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Makes a folder with a `denclavectl` and a `deno` in it, as on a machine where both are installed.
 *
 * @returns the folder, to be put first on PATH
 */
export async function installCommands(folder: string): Promise<string> {
  const bin = `${folder}/.bin`;
  await Deno.mkdir(bin, { recursive: true });
  const deno = Deno.execPath();
  const ctl =
    `${deno} run --quiet --no-prompt --config=${ROOT}deno.json --lock=${ROOT}ctl.lock --frozen -A ${ROOT}scripts/ctl.ts`;
  await Deno.writeTextFile(`${bin}/denclavectl`, `#!/bin/sh\nexec ${ctl} "$@"\n`, { mode: 0o755 });
  await Deno.writeTextFile(`${bin}/deno`, `#!/bin/sh\nexec ${deno} "$@"\n`, { mode: 0o755 });
  return bin;
}

/** Runs one block in bash, ending at the first command that fails. */
export async function runBlock(block: CommandBlock, reader: Reader): Promise<BlockResult> {
  let { commands } = block;
  for (const [placeholder, value] of Object.entries(reader.placeholders ?? {})) {
    commands = commands.replaceAll(placeholder, value);
  }
  const [unknown] = /<[a-z][a-z ]*>/.exec(commands.replace(/<<-?'?[A-Z]+'?/g, "")) ?? [];
  if (unknown !== undefined) throw new Error(`line ${block.line}: no value for the placeholder ${unknown}`);
  const bin = await installCommands(reader.cwd);
  const child = new Deno.Command("/bin/bash", {
    args: ["-euo", "pipefail", "-c", commands],
    cwd: reader.cwd,
    env: { PATH: `${bin}:${Deno.env.get("PATH") ?? ""}`, NO_COLOR: "1", ...reader.env },
    stdin: "null",
  }).output();
  const { code, stdout, stderr } = await within(BLOCK_MS, `the block of line ${block.line}`, child);
  const decoder = new TextDecoder();
  return { block, code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs every block of a document that can be run. Fails at the first that fails, with its line and what it printed. */
export async function runDocument(path: string, reader: Reader): Promise<readonly BlockResult[]> {
  const results: BlockResult[] = [];
  for (const block of await commandBlocks(path)) {
    if (block.norun !== undefined) continue;
    const result = await runBlock(block, reader);
    if (result.code !== 0) {
      throw new Error(
        `${path}:${block.line} ended with ${result.code}\n${block.commands}\n${result.stdout}${result.stderr}`,
      );
    }
    results.push(result);
  }
  return results;
}
