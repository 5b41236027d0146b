/**
 * The parent's tool and the development service as processes, as a person runs them: from source, or the
 * compiled binaries (`deno task test e2e --compiled`).
 *
 * @module
 */
import { PERMISSIONS } from "../../scripts/permissions.ts";
import { NATIVE_DIR } from "./native_sdk.ts";
import type { Launch } from "./service_process.ts";
import { runTool, type ToolResult } from "./tools.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

export type { ToolResult as CtlResult } from "./tools.ts";

/** Nothing of this machine's own AWS set-up reaches the tool. */
const NO_AWS = {
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nonexistent/config",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
};

/** An argument of the test modules, as in effort.ts. */
const IS_COMPILED = Deno.args.includes("--compiled");

/** A program from source, with the permissions that its compiled binary has. */
function fromSource(entry: string, permissions: readonly string[], args: readonly string[]): Launch {
  const options = ["run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`];
  return { command: Deno.execPath(), args: [...options, ...permissions, `${ROOT}${entry}`, ...args] };
}

/** How `denclavectl` is started. */
export function ctlLaunch(args: readonly string[]): Launch {
  const launch = IS_COMPILED ? { command: `${NATIVE_DIR}/denclavectl`, args } : fromSource("scripts/ctl.ts", [
    `--lock=${ROOT}ctl.lock`,
    "--frozen",
    ...PERMISSIONS.ctl.map(({ flag }) => flag),
  ], args);
  return { ...launch, env: NO_AWS };
}

/** Runs `denclavectl` to its end. */
export async function runCtl(
  args: readonly string[],
  { env, ...options }: {
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
    readonly stdin?: string;
  } = {},
): Promise<ToolResult> {
  const launch = ctlLaunch(args);
  return await runTool(launch.command, launch.args, { ...options, env: { ...launch.env, ...env } });
}

/** Starts `denclavectl`, for a test that does not let it end. */
export function spawnCtl(args: readonly string[], env: Readonly<Record<string, string>>): Deno.ChildProcess {
  const launch = ctlLaunch(args);
  return new Deno.Command(launch.command, {
    args: [...launch.args],
    env: { ...launch.env, ...env },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

/**
 * How the development service is started: on a port of loopback unless told where; a signal reaches it
 * directly.
 */
export function devLaunch(args: readonly string[]): Launch {
  const isPlaced = ["--listen", "--port"].some((name) => args.includes(name));
  const given = [...(isPlaced ? [] : ["--listen", "tcp:127.0.0.1:0"]), ...args];
  if (IS_COMPILED) return { command: `${NATIVE_DIR}/denclave-dev`, args: given };
  return fromSource("scripts/dev.ts", [...PERMISSIONS.dev.map(({ flag }) => flag), "--allow-env"], given);
}
