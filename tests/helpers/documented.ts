/**
 * The commands of a document, run as its reader would run them: every `sh` block, in order, in one folder. A block that cannot be run here says
 * so in its first line, ` ```sh norun: <reason> `. A block that serves until it is ended says ` ```sh background `.
 *
 * @module
 */
import { within } from "./deadline.ts";
import { runTool, type ToolResult } from "./tools.ts";

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
  /** Whether it is a server, which runs until the end of the document. Not unless true. */
  readonly background?: boolean;
}

/** The `sh` blocks of a document, in order. @param path from the repository's root */
export async function commandBlocks(path: string): Promise<readonly CommandBlock[]> {
  const blocks: CommandBlock[] = [];
  let heading = "";
  let open: { readonly info: string; readonly line: number; readonly lines: string[] } | undefined;
  for (const [index, line] of (await Deno.readTextFile(`${ROOT}${path}`)).split("\n").entries()) {
    if (open !== undefined) {
      if (line.startsWith("```")) {
        const { info, lines } = open;
        blocks.push({
          heading,
          line: open.line,
          commands: lines.join("\n"),
          norun: info.startsWith("norun:") ? info.slice(6).trim() : undefined,
          background: info === "background",
        });
        open = undefined;
      } else open.lines.push(line);
      continue;
    }
    const [, title] = /^#+ (.*)$/.exec(line) ?? [];
    if (title !== undefined) heading = title;
    const [, info] = /^```sh\b ?(.*)$/.exec(line) ?? [];
    if (info === undefined) continue;
    if (!/^(?:background|norun: \S.*)?$/.test(info)) throw new Error(`${path}:${index + 1}: sh ${info}?`);
    open = { info, line: index + 2, lines: [] };
  }
  return blocks;
}

/** What a reader has: a folder, values for the placeholders, an environment. */
export interface Reader {
  readonly cwd: string;
  /** Such as `<key arn>`, with what the reader puts there; other text of the commands, too. */
  readonly placeholders?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

/** What a block printed. */
export interface BlockResult extends ToolResult {
  readonly block: CommandBlock;
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
  for (const [name, command] of [["denclavectl", ctl], ["deno", deno]] as const) {
    // By a rename: a job of an earlier block may be about to read the file.
    const file = await Deno.makeTempFile({ dir: folder });
    await Deno.writeTextFile(file, `#!/bin/sh\nexec ${command} "$@"\n`);
    await Deno.chmod(file, 0o755);
    await Deno.rename(file, `${bin}/${name}`);
  }
  return bin;
}

/** An address of loopback that nobody listens on. */
export function freeAddress(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `127.0.0.1:${listener.addr.port}`;
}

/** A block as bash runs it for this reader. */
async function commandOf(block: CommandBlock, reader: Reader) {
  let { commands } = block;
  for (const [placeholder, value] of Object.entries(reader.placeholders ?? {})) {
    commands = commands.replaceAll(placeholder, value);
  }
  const [unknown] = /<[a-z][a-z ]*>/.exec(commands.replace(/<<-?'?[A-Z]+'?/g, "")) ?? [];
  if (unknown !== undefined) throw new Error(`line ${block.line}: no value for the placeholder ${unknown}`);
  const bin = await installCommands(reader.cwd);
  return {
    args: ["-euo", "pipefail", "-c", commands],
    cwd: reader.cwd,
    env: { PATH: `${bin}:${Deno.env.get("PATH") ?? ""}`, NO_COLOR: "1", ...reader.env },
  };
}

/** Runs one block in bash, ending at the first command that fails. */
export async function runBlock(block: CommandBlock, reader: Reader): Promise<BlockResult> {
  const { args, cwd, env } = await commandOf(block, reader);
  return { block, ...await runTool("/bin/bash", args, { cwd, env }) };
}

/** Starts a server's block in a process group of its own, and waits until it says that it listens. */
export async function startBlock(block: CommandBlock, reader: Reader): Promise<AsyncDisposable> {
  const { args, ...options } = await commandOf(block, reader);
  const child = new Deno.Command("setsid", {
    args: ["/bin/bash", ...args],
    ...options,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let printed = "";
  const { promise: listening, resolve, reject } = Promise.withResolvers<void>();
  const reading = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      printed += text;
      if (/listening|[Ll]istens/.test(printed)) resolve();
    }
    reject(new Error(`the block of line ${block.line} ended: ${printed}`));
  })();
  const stop = async () => {
    await new Deno.Command("kill", { args: ["--", `-${child.pid}`], stderr: "null" }).output();
    await within(
      Promise.all([child.status, reading]),
      `the end of the block of line ${block.line}`,
      BLOCK_MS,
    );
  };
  try {
    await within(listening, `"listening" from the block of line ${block.line}`, BLOCK_MS);
  } catch (thrown) {
    await stop();
    throw thrown;
  }
  return { [Symbol.asyncDispose]: stop };
}

/**
 * Runs every block of a document that can be run, its servers until the end. Fails at the first that fails,
 * with its line and what it printed.
 */
export async function runDocument(path: string, reader: Reader): Promise<readonly BlockResult[]> {
  const results: BlockResult[] = [];
  await using servers = new AsyncDisposableStack();
  for (const block of await commandBlocks(path)) {
    if (block.norun !== undefined) continue;
    if (block.background === true) {
      servers.use(await startBlock(block, reader));
      continue;
    }
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
