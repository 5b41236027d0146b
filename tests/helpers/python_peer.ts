/**
 * Programs of tests/peers that answer questions: a line of JSON for each line of JSON.
 *
 * @module
 */
import { within } from "./deadline.ts";

const PEERS = new URL("../peers/", import.meta.url).pathname;

/** A program that runs. */
export interface PythonPeer {
  ask(question: unknown): Promise<unknown>;
  end(): Promise<void>;
}

/** Starts a program of tests/peers, in the venv of `deno task build peers`. */
export function startPythonPeer(program: string): PythonPeer {
  const child = new Deno.Command(`${PEERS}build/venv/bin/python`, {
    args: [`${PEERS}${program}`],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  return {
    ask: async (question) => {
      await writer.write(new TextEncoder().encode(`${JSON.stringify(question)}\n`));
      let line = "";
      while (!line.endsWith("\n")) {
        const { value } = await within(reader.read(), `an answer of ${program}`, 20_000);
        if (value === undefined) throw new Error(`${program} has ended`);
        line += value;
      }
      return JSON.parse(line);
    },
    end: async () => {
      await writer.close();
      await reader.cancel();
      await child.status;
    },
  };
}
