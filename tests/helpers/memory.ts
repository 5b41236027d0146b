/**
 * The memory of a process, and of the machine that it believes to run on.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { Launch } from "./service_process.ts";
import { runTool } from "./tools.ts";

/** The most memory that a process has had. Bytes. */
export async function peakResident(pid: number): Promise<number> {
  // By another program: Deno reads /proc only with every permission.
  const { stdout } = await runTool("cat", [`/proc/${pid}/status`]);
  const [, kilobytes = ""] = /VmHWM:\s+(\d+) kB/.exec(stdout) ?? [];
  assert(kilobytes !== "");
  return Number(kilobytes) * 1024;
}

/** Whether {@link onMachineWith} works here: it needs a mount namespace of its own. */
export async function hasNamespaces(): Promise<boolean> {
  const { success } = await new Deno.Command("unshare", { args: ["-Urm", "true"] }).output()
    .catch(() => ({ success: false }));
  return success;
}

/** The same launch, on a machine of which the kernel states this memory. Bytes. */
export function onMachineWith(memory: number, { command, args, ...launch }: Launch): Launch {
  const kilobytes = Math.floor(memory / 1024);
  const script =
    `file=$(mktemp) && echo "$0" > "$file" && mount --bind "$file" /proc/meminfo && rm "$file" && exec "$@"`;
  const meminfo = `MemTotal: ${kilobytes} kB\nMemAvailable: ${kilobytes} kB`;
  return { ...launch, command: "unshare", args: ["-Urm", "sh", "-c", script, meminfo, command, ...args] };
}
