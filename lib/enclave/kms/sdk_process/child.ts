/**
 * The service's handle of an SDK process: a child of the same binary, which can be killed, so that a hang or a crash of the SDK costs one call's time
 * and never the keys in this process's memory. Needs run permission for the binary itself.
 *
 * @module
 */
import { messageOf } from "../../../shared/errors.ts";
import { decodeFrames, encodeFrame } from "./frames.ts";
import type { SdkMessage, SdkRequest } from "./protocol.ts";
import { LastLines } from "./stderr.ts";

/** Callbacks of a child. None is called after `ended`, or after the child was killed. */
export interface ChildEvents {
  message(message: SdkMessage): void;
  /** The SDK has printed something. */
  printed(): void;
  /** It ended, and was not killed by this process. */
  ended(how: string): void;
}

/** A child that was started. */
export interface Child {
  /** Its process id. */
  readonly pid: number;
  /** Sends a request; secret bytes in it are wiped. */
  post(request: SdkRequest): void;
  /** Kills it immediately. */
  kill(): void;
  /** The last lines that the SDK has printed since the last request. */
  printed(): string;
}

/** Starts a child. */
export type StartChild = (events: ChildEvents) => Child;

/**
 * Makes the function that starts children.
 *
 * @param command the binary
 * @param args arguments that make it an SDK process; this process's id is appended
 */
export function childStarter(command: string, args: readonly string[]): StartChild {
  return (events) => {
    const child = new Deno.Command(command, {
      args: [...args, String(Deno.pid)],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const lastLines = new LastLines();
    const writer = child.stdin.getWriter();
    writer.closed.catch(() => {});
    let over = false;
    const release = () => {
      over = true;
      kill(child);
      // Without this the pipe stays open until the writer is collected.
      writer.abort().catch(() => {});
    };
    const end = (how: string) => {
      if (over) return;
      release();
      events.ended(how);
    };

    const stderrDone = readText(child.stderr, (text) => {
      lastLines.add(text);
      if (!over) events.printed();
    });
    void readMessages(child.stdout, (message) => over || events.message(message))
      .catch((thrown) => end(messageOf(thrown)));
    void child.status.then(async ({ code, signal }) => {
      await stderrDone;
      end(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });

    return {
      pid: child.pid,
      post: (request) => {
        lastLines.clear();
        const frame = encodeFrame(request);
        const secrets = request.op === "call" ? Object.values(request.credentials) : [];
        for (const secret of secrets) secret.fill(0);
        void writer.write(frame)
          .catch((thrown) => end(`cannot write to it: ${messageOf(thrown)}`))
          .finally(() => frame.fill(0));
      },
      kill: release,
      printed: () => lastLines.toString(),
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
    // The process has ended; its status has the reason.
  }
}

async function readMessages(
  stream: ReadableStream<Uint8Array>,
  take: (message: SdkMessage) => void,
): Promise<void> {
  for await (const message of decodeFrames(stream)) take(message as SdkMessage);
}
