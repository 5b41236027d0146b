/**
 * The children of a service, as the system lists them.
 *
 * @module
 */

/** What a shell prints. Deno itself reads `/proc` with all permissions alone. */
export function printed(script: string): string {
  const { stdout } = new Deno.Command("sh", { args: ["-c", script], stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout).trim();
}

/** Process ids of those that a service has started, also after its own end: they are told its process id. */
export function childrenOf(pid: number): readonly number[] {
  return printed("ps -eo pid=,stat=,args=").split("\n")
    .filter((line) => new RegExp(` [^Z]\\S* .* (sdk|workflow)-process ${pid}$`).test(line))
    .map((line) => parseInt(line, 10));
}
