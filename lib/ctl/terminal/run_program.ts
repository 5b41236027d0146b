/**
 * Runs another program to its end, with a deadline and a limit on what it may print.
 *
 * Permission: to run the program.
 *
 * @module
 */

/** What a program printed. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT = 1_048_576;

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    if (text.length < MAX_OUTPUT) text += chunk;
  }
  return text.slice(0, MAX_OUTPUT);
}

/**
 * Runs a program of PATH.
 *
 * @param timeoutMs it is ended after that
 * @throws {Deno.errors.NotFound} when there is no such program; {Error} when it did not end in time.
 */
export async function runToEnd(
  program: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<CommandResult> {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(timeoutMs),
  }).spawn();
  const [{ code, signal }, stdout, stderr] = await Promise.all([
    child.status,
    readAll(child.stdout),
    readAll(child.stderr),
  ]);
  if (signal !== null) throw new Error(`${program} did not end within ${timeoutMs} ms`);
  return { code, stdout, stderr };
}
