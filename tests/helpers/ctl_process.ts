/**
 * The parent's tool and the development service as processes, as a person runs them.
 *
 * @module
 */
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { PROGRAMS } from "../../lib/parent/doctor/check.ts";
import { type Launch, within } from "./service_process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const RUN_MS = 60_000;

/** What a run of the tool gave. */
export interface CtlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nothing of this machine's own AWS set-up reaches the tool. */
const NO_AWS = {
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nonexistent/config",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
};

function ctlArguments(args: readonly string[]): string[] {
  return [
    "run",
    "--quiet",
    "--no-prompt",
    `--config=${ROOT}deno.json`,
    `--lock=${ROOT}ctl.lock`,
    "--frozen",
    "--allow-net",
    "--allow-env",
    "--allow-read",
    "--allow-write",
    "--allow-sys",
    `--allow-run=${[...PROGRAMS, "git", "deno"].join(",")}`,
    `--allow-ffi=${LIBC_PATHS.join(",")}`,
    `${ROOT}scripts/ctl.ts`,
    ...args,
  ];
}

/** Runs `scripts/ctl.ts` to its end. */
export async function runCtl(
  args: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
    /** What it reads from stdin; nothing by default. */
    readonly stdin?: string;
  } = {},
): Promise<CtlResult> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ctlArguments(args),
    env: { ...NO_AWS, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  if (options.stdin !== undefined) {
    const writer = child.stdin.getWriter();
    // A tool may end before it has read all of its stdin.
    await writer.write(new TextEncoder().encode(options.stdin)).then(() => writer.close()).catch(() => {});
  }
  const { code, stdout, stderr } = await within(RUN_MS, `host ${args.join(" ")}`, child.output());
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Starts `scripts/ctl.ts`, for a test that does not let it end. */
export function spawnCtl(args: readonly string[], env: Readonly<Record<string, string>>): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ctlArguments(args),
    env: { ...NO_AWS, ...env },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

/** How `scripts/dev.ts` is started: directly, so that a signal reaches the service itself; on a port of loopback, unless told where. */
export function devLaunch(args: readonly string[]): Launch {
  return {
    command: Deno.execPath(),
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${ROOT}deno.json`,
      "--allow-net",
      "--allow-read",
      "--allow-write",
      "--allow-env",
      `--allow-ffi=${LIBC_PATHS.join(",")}`,
      `${ROOT}scripts/dev.ts`,
      ...(["--listen", "--port"].some((name) => args.includes(name)) ? [] : ["--listen", "tcp:127.0.0.1:0"]),
      ...args,
    ],
  };
}

/** How `scripts/ctl.ts` is started for a service of its own, such as `emulator serve`. */
export function ctlLaunch(args: readonly string[]): Launch {
  return { command: Deno.execPath(), args: ctlArguments(args), env: NO_AWS };
}
