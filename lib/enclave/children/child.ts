/**
 * A child of the same binary, spoken to in frames over stdin and stdout. It can be killed at any time, so that whatever it does costs its
 * own work and never the keys in this process. Needs run permission for the binary itself.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { messageOf } from "../../shared/errors.ts";
import { concat, discard } from "../../shared/bytes.ts";
import { FrameReader } from "./frames.ts";
import { LastLines } from "./last_lines.ts";

/** Callbacks of a child. None is called after `ended`, or after the child was killed. */
export interface ChildEvents {
  /** A message, the receiver's to wipe. */
  message(body: Uint8Array<ArrayBuffer>): void;
  /** It has printed something on stderr. */
  printed?(): void;
  /** It ended, or broke the protocol, and was not killed by this process. */
  ended(how: string): void;
}

/** A child that was started. */
export interface Child {
  /** Its process id. */
  readonly pid: number;
  /**
   * Sends a frame (`newFrame`). It is wiped once it was sent, unless its owner keeps it: then it must not change until the child has answered.
   */
  post(frame: Uint8Array<ArrayBuffer>, keep?: "keep"): void;
  /** Kills it immediately. */
  kill(): void;
  /** What it last printed on stderr. */
  readonly lines: LastLines;
}

/** Starts a child. */
export type StartChild = (events: ChildEvents) => Child;

/** How children are started. */
export interface ChildCommand {
  /** The program, and the arguments that say what it is to be. The id of this process is appended. */
  readonly command: string;
  readonly args: readonly string[];
  /** The longest message that a child may send, bytes. */
  readonly maxLength: number;
}

/** Larger messages are written alone, since copying them costs more than another write. Bytes. */
const LARGE = 64 * 1024;

/** How this program starts itself again: compiled, or from source with these permissions. */
export function selfCommand(name: string, permissions: readonly string[]): Omit<ChildCommand, "maxLength"> {
  const command = Deno.execPath();
  if (Deno.build.standalone) return { command, args: [name] };
  return { command, args: ["run", "--no-prompt", ...permissions, Deno.mainModule, name] };
}

/**
 * Reads a stream to its end, into one buffer: a new one for each read costs as much as the rest of the work.
 * Both streams are read so, since what a child prints before it answers is to be taken before the answer.
 */
async function readAll(stream: ReadableStream<Uint8Array>, take: (chunk: Uint8Array) => void): Promise<void> {
  const reader = stream.getReader({ mode: "byob" });
  try {
    let read = await reader.read(new Uint8Array(LARGE));
    for (; !read.done; read = await reader.read(new Uint8Array(read.value.buffer))) take(read.value);
  } finally {
    await reader.cancel();
  }
}

/** Makes the function that starts children. */
export function childStarter({ command, args, maxLength }: ChildCommand): StartChild {
  return (events) => {
    const child = new Deno.Command(command, {
      args: [...args, String(Deno.pid)],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const lines = new LastLines();
    const writer = child.stdin.getWriter();
    writer.closed.catch(() => {});
    const reader = new FrameReader(maxLength);
    let over = false;
    const waiting: Parameters<Child["post"]>[] = [];

    const release = () => {
      over = true;
      for (const [frame, keep] of waiting.splice(0)) keep ?? discard(frame);
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
      // Without this the pipe stays open until the writer is collected.
      writer.abort().catch(() => {});
    };
    const end = (how: string) => {
      if (over) return;
      release();
      events.ended(how);
    };
    const write = (frame: Uint8Array<ArrayBuffer>, keep?: "keep") => {
      void writer.write(frame).catch((thrown) => end(`cannot write to it: ${messageOf(thrown)}`))
        .finally(() => keep ?? discard(frame));
    };
    // All messages of one turn of the event loop leave in one write.
    const flush = () => {
      const posts = waiting.splice(0);
      if (posts.length > 0) write(concat(posts.map(([frame]) => frame)));
      for (const [frame, keep] of posts) keep ?? discard(frame);
    };

    const decoder = new TextDecoder();
    // Where it cannot be read, the process has ended; its status has the reason.
    const stderrDone = readAll(child.stderr, (chunk) => {
      lines.add(decoder.decode(chunk, { stream: true }));
      if (!over) events.printed?.();
    }).catch(() => {});
    // What arrives of a frame after the end is wiped too.
    const stdoutDone = readAll(child.stdout, (chunk) => {
      for (const body of reader.push(chunk)) over ? body.fill(0) : events.message(body);
    }).catch((thrown) => end(messageOf(thrown))).finally(() => reader.wipe());
    void child.status.then(async ({ code, signal }) => {
      // What it sent before it ended counts.
      await Promise.all([stdoutDone, stderrDone]);
      end(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });

    return {
      pid: child.pid,
      lines,
      post: (frame, keep) => {
        if (over) return void (keep ?? discard(frame));
        if (frame.length >= LARGE) {
          flush();
          return write(frame, keep);
        }
        if (waiting.length === 0) setImmediate(flush);
        waiting.push([frame, keep]);
      },
      kill: release,
    };
  };
}
