/**
 * Other programs that tests run: Python, Go, Node, a browser. A test whose program is missing is skipped, and
 * the run reports it.
 *
 * @module
 */
import { within } from "./deadline.ts";
import { skipTests } from "./skip.ts";

const RUN_MS = 300_000;

/** What a run gave. */
export interface ToolResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end, within a deadline. @param options what it reads from stdin is nothing by default
 */
export async function runTool(
  command: string,
  args: readonly string[],
  { stdin, ...options }: {
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly stdin?: string;
  } = {},
): Promise<ToolResult> {
  const child = new Deno.Command(command, {
    ...options,
    args: [...args],
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS);
  try {
    if (stdin !== undefined) {
      const writer = child.stdin.getWriter();
      // A tool may end before it has read all of its stdin.
      await writer.write(new TextEncoder().encode(stdin)).then(() => writer.close()).catch(() => {});
    }
    const { code, stdout, stderr } = await within(child.output(), command, RUN_MS + 5_000);
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The first of these programs that runs; undefined, which is reported, where none does.
 *
 * @param what is skipped without it, and what installs it
 */
export function findTool(
  candidates: readonly (readonly [string, ...string[]])[],
  what: string,
): string | undefined {
  for (const [command, ...args] of candidates) {
    try {
      const { success } = new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync();
      if (success) return command;
    } catch {
      // It is not there.
    }
  }
  skipTests(what);
  return undefined;
}
