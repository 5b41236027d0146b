/**
 * `denclavectl` in the process of a test.
 *
 * @module
 */
import { describeCtlFailure, runCtl } from "../../lib/ctl/commands/main.ts";
import { type CtlIo, openIo } from "../../lib/ctl/terminal/printing.ts";

/** What a command has. */
export interface Surroundings {
  readonly env?: Readonly<Record<string, string>>;
  /** Which of its streams are a terminal. */
  readonly terminal?: "stdout" | "stderr";
}

/** Where it writes. */
export function recordingIo({ env = {}, terminal }: Surroundings = {}) {
  const shown = { stdout: "", stderr: "" };
  const io: CtlIo = openIo({
    write: (to, text) => void (shown[to] += text),
    isTerminal: (stream) => stream === terminal,
    env: (name) => env[name],
    untilSignal: () => Promise.resolve("SIGTERM"),
  });
  return { io, shown };
}

/** Runs a command. @throws what it throws */
export async function callCtl(argv: readonly string[], surroundings?: Surroundings) {
  const { io, shown } = recordingIo(surroundings);
  return { code: await runCtl(argv, io), ...shown };
}

/** As {@link callCtl}, with an error as the program prints it. */
export async function tryCtl(argv: readonly string[], surroundings?: Surroundings) {
  const { io, shown } = recordingIo(surroundings);
  try {
    return { code: await runCtl(argv, io), ...shown };
  } catch (thrown) {
    const { exitCode, lines } = describeCtlFailure(thrown, argv);
    const text = lines.map((line) => `${line}\n`).join("");
    return { code: exitCode, stdout: shown.stdout, stderr: shown.stderr + text };
  }
}
