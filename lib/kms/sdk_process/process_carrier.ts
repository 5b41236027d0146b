/**
 * Carries messages to an SDK host that is a child process of the same binary: it can be killed, so that a hang or a crash of the SDK
 * costs one retry and never the keys in this process's memory. Needs run permission for the binary itself.
 *
 * @module
 */
import { messageOf } from "../../errors.ts";
import { type Carrier, type CarrierEvents, secretsOf, type StartCarrier } from "./carrier.ts";
import { decodeFrames, encodeFrame } from "./frames.ts";
import type { HostResponse } from "./protocol.ts";

const MAX_LINES = 8;
const MAX_LINE_LENGTH = 200;

/** Keeps the last lines of a stream, bounded. */
class LastLines {
  #lines: string[] = [];
  #partial = "";

  add(text: string): void {
    const pieces = (this.#partial + text).split("\n");
    this.#partial = (pieces.pop() ?? "").slice(-MAX_LINE_LENGTH);
    for (const piece of pieces) this.#lines.push(piece.trim().slice(0, MAX_LINE_LENGTH));
    this.#lines = this.#lines.filter((line) => line !== "").slice(-MAX_LINES);
  }

  clear(): void {
    this.#lines = [];
    this.#partial = "";
  }

  toString(): string {
    return [...this.#lines, this.#partial].filter((line) => line !== "").join("; ");
  }
}

/**
 * Makes the function that starts a child.
 *
 * @param command the binary and its arguments, such that it becomes an SDK host
 */
export function processCarrier(command: string, args: readonly string[]): StartCarrier {
  return (events: CarrierEvents): Carrier => {
    const child = new Deno.Command(command, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const lastLines = new LastLines();
    const writer = child.stdin.getWriter();
    let over = false;
    const end = (how: string) => {
      if (over) return;
      over = true;
      kill(child);
      events.ended(how);
    };

    const stderrDone = readText(child.stderr, (text) => lastLines.add(text));
    void readMessages(child.stdout, (response) => over || events.message(response)).catch((thrown) =>
      end(messageOf(thrown))
    );
    void child.status.then(async ({ code, signal }) => {
      await stderrDone;
      end(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });

    return {
      leaks: false,
      post: (request) => {
        lastLines.clear();
        const frame = encodeFrame(request);
        for (const secret of secretsOf(request)) secret.fill(0);
        writer.write(frame).then(
          () => frame.fill(0),
          (thrown) => end(`cannot write to it: ${messageOf(thrown)}`),
        );
      },
      giveUp: () => {
        over = true;
        kill(child);
      },
      said: () => lastLines.toString(),
    };
  };
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
}

async function readText(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  try {
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
  } catch {
    // The process is gone; its status says how.
  }
}

async function readMessages(
  stream: ReadableStream<Uint8Array>,
  take: (response: HostResponse) => void,
): Promise<void> {
  for await (const message of decodeFrames(stream)) take(message as HostResponse);
}
