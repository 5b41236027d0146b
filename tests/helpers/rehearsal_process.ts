/**
 * `deno task rehearse` as a person runs it, and the commands that it prints.
 *
 * @module
 */
import type { Folder } from "./folder.ts";
import { within } from "./deadline.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const START_MS = 120_000;
const RUN_MS = 60_000;

/** A command as it was printed. */
export interface PrintedCommand {
  /** The comment above it. */
  readonly says: string;
  readonly line: string;
  readonly exitCode: number;
}

/** What a command gave. */
export interface RanCommand {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The commands of the rehearsal's text, in order. */
export function printedCommands(text: string): readonly PrintedCommand[] {
  return [...text.matchAll(/^ {2}# (.*)\n {2}(.*)$/gm)].map(([, says = "", line = ""]) => ({
    says,
    line,
    exitCode: Number(/\(exit code ([0-9]+)\)$/.exec(says)?.[1] ?? 0),
  }));
}

/** The lines that define what the commands use. */
export function printedSetup(text: string): string {
  return /These first:\n\n((?: {2}.*\n)+)/.exec(text)?.[1] ?? "";
}

/** How a person starts Deno. */
export interface Launcher {
  /** What a command line begins with. */
  readonly words: string;
  readonly deno: string;
  /** PATH of the rehearsal. */
  readonly path: string;
  /** PATH of the other terminal, in which the commands are tried. */
  readonly otherPath: string;
}

/** Deno as it is installed, or as npx keeps it: there no other terminal has it on PATH. */
export async function makeLauncher(folder: Folder, by: "deno" | "npx"): Promise<Launcher> {
  const bin = `${folder.path}/bin`;
  const home = by === "deno" ? bin : `${folder.path}/_npx/0`;
  const words = by === "deno" ? "deno" : `npx --yes deno@${Deno.version.deno}`;
  const [path, otherPath] = [`${home}:${bin}:/usr/bin:/bin`, `${bin}:/usr/bin:/bin`];
  // The program that is called by this name; npx gives it its own folder on PATH.
  const npx =
    `#!/bin/sh\n[ "npx $1 $2" = "${words}" ] || exit 64\nshift 2\nPATH=${path} exec ${home}/deno "$@"\n`;
  await folder.write("bin/npx", npx);
  await Deno.chmod(`${bin}/npx`, 0o755);
  await Deno.mkdir(home, { recursive: true });
  const deno = `${home}/deno`;
  await Deno.link(Deno.execPath(), deno).catch(() => Deno.copyFile(Deno.execPath(), deno));
  return { words, deno, path, otherPath };
}

/** Runs one line by bash, in the repository's folder. */
export async function runLine(line: string, path: string): Promise<RanCommand> {
  const child = new Deno.Command("/bin/bash", {
    args: ["-c", line],
    cwd: ROOT,
    env: { NO_COLOR: "1", PATH: path },
    stdin: "null",
  }).output();
  const { code, stdout, stderr } = await within(child, line, RUN_MS);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** The process, with `deno task` around it, in a process group of its own as in a terminal. */
export class RehearsalProcess implements AsyncDisposable {
  stdout = "";
  stderr = "";
  #child: Deno.ChildProcess;
  #printed = Promise.withResolvers<void>();
  #status: Promise<Deno.CommandStatus>;

  constructor(args: readonly string[], launcher?: Launcher) {
    this.#child = new Deno.Command(launcher?.deno ?? Deno.execPath(), {
      args: ["task", "--quiet", "rehearse", ...args],
      cwd: ROOT,
      env: { NO_COLOR: "1", ...(launcher === undefined ? {} : { PATH: launcher.path }) },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    this.#printed.promise.catch(() => {});
    this.#status = Promise.all([
      this.#read(this.#child.stdout, (text) => {
        this.stdout += text;
        if (this.stdout.includes("Ctrl-C ends all of it.")) this.#printed.resolve();
      }),
      this.#read(this.#child.stderr, (text) => {
        this.stderr += text;
      }),
    ]).then(() => this.#child.status).then((status) => {
      this.#printed.reject(new Error(`the rehearsal ended with ${status.code}: ${this.stderr}`));
      return status;
    });
  }

  /** Starts it, and waits until it has printed its commands. */
  static async start(launcher: Launcher): Promise<RehearsalProcess> {
    const rehearsal = new RehearsalProcess([], launcher);
    try {
      await within(rehearsal.#printed.promise, "starting the rehearsal", START_MS);
      return rehearsal;
    } catch (thrown) {
      await rehearsal[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  async #read(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
  }

  /** Ctrl-C: the terminal sends it to the whole group. */
  interrupt(): void {
    Deno.kill(-this.#child.pid, "SIGINT");
  }

  /** Waits for its end. */
  ended(): Promise<Deno.CommandStatus> {
    return within(this.#status, "the end of the rehearsal", 30_000);
  }

  /** Has it end what it started, which is in groups of its own. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.interrupt();
    } catch {
      // It has ended.
    }
    await this.ended();
  }
}

/** Ids of processes whose command line names a text. Linux. */
export async function processesNaming(text: string): Promise<readonly number[]> {
  // By grep, since Deno reads /proc only with all permissions. The text comes on stdin: it is not on grep's
  // own command line.
  const child = new Deno.Command("sh", {
    args: ["-c", "exec grep -aFl -f - /proc/[0-9]*/cmdline"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { stdout } = await child.output();
  return [...new TextDecoder().decode(stdout).matchAll(/^\/proc\/([0-9]+)\//gm)].map(([, id]) => Number(id));
}
