/**
 * The services as processes, and the load generator: built, started, measured, ended.
 *
 * @module
 */
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { cargoBuild } from "../../scripts/build_cache.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const HERE = new URL(".", import.meta.url).pathname;
/** Where built things go; not in the repository. */
export const BUILD = `${HERE}build`;
const VENV = `${BUILD}/venv`;
const RUST = `${BUILD}/rust_service`;
/** Real AWS-LC; without it ours runs with `node:crypto`. */
export const AWS_LC = `${NATIVE_DIR}/libaws_lc_plain.so`;

/** Whether there is such a file. */
export function isFile(path: string): Promise<boolean> {
  return Deno.stat(path).then((file) => file.isFile, () => false);
}

/** Which service: ours, ours of another checkout, and the same in other languages. */
export type Peer = "ours" | "before" | "rust" | "python";

/** The key, and where the services come from. */
export interface PeerOptions {
  /** Hex. */
  readonly key: string;
  /** A checkout of another commit: its `tests/bench/service_main.ts` runs beside ours. */
  readonly before?: string | undefined;
  /** What each KMS call of ours takes. Milliseconds. */
  readonly kmsMs?: number;
  /** Processes of the workflow; one unless given. */
  readonly processes?: number;
  /** The longest that the workflow may work on a request. Milliseconds. */
  readonly workflowMs?: number;
}

/** What the load generator measured. */
export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly errors: number;
  /** Processor time of the service, all its processes and their threads. Seconds. */
  readonly cpu_seconds: number;
}

/** Clock ticks a second of `/proc/<pid>/stat`, on all of Linux's machines. */
const TICKS = 100;

/** Processor time that a process and its descendants have used, those that have ended included. Seconds. */
async function cpuSeconds(pid: number): Promise<number> {
  // Deno itself may read nothing below /proc. A process may end meanwhile.
  const stats = (await run("sh", ["-c", "cat /proc/[0-9]*/stat 2>/dev/null || true"])).trim().split("\n");
  const processes = stats.map((line) => {
    const [id = "", rest = ""] = line.split(/ \(.*\) /);
    const [, parent, ...fields] = rest.split(" ");
    // utime, stime, and cutime, cstime of children that were waited for: proc(5).
    const ticks = fields.slice(9, 13).reduce((sum, field) => sum + Number(field), 0);
    return { id: Number(id), parent: Number(parent), ticks };
  });
  const own = new Set([pid]);
  for (let size = 0; size < own.size;) {
    size = own.size;
    for (const { id, parent } of processes) if (own.has(parent)) own.add(id);
  }
  return processes.reduce((sum, { id, ticks }) => own.has(id) ? sum + ticks : sum, 0) / TICKS;
}

/** Runs a program to its end. @throws {EnclaveError} with what it printed on stderr. */
export async function run(command: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new EnclaveError(`${command} failed: ${new TextDecoder().decode(stderr)}`, {
    code: "bench",
    hint: "It needs cc, python3 with venv, and a package registry.",
  });
}

/** Compiles the load generator and the peer in Rust, and makes Python's environment, where they are not there yet. */
export async function buildPeers(): Promise<void> {
  await Deno.mkdir(BUILD, { recursive: true });
  await run("cc", [
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-o",
    `${BUILD}/load_generator`,
    `${HERE}load_generator.c`,
  ]);
  const problem = await cargoBuild({
    name: "rust-service",
    folder: "tests/peers/rust",
    artifact: "rust_service",
    output: RUST,
    says: "Building the peer in Rust (once, about a minute)",
  });
  if (problem !== undefined) console.error(`The peer in Rust is left out. ${problem}`);
  if (await Deno.stat(`${VENV}/ready`).catch(() => undefined)) return;
  await run("python3", ["-m", "venv", VENV]);
  await run(`${VENV}/bin/pip`, ["install", "--quiet", "--disable-pip-version-check", "cryptography==46.0.3"]);
  await Deno.writeTextFile(`${VENV}/ready`, "");
}

/** Starts a service that prints its port. */
export async function start(
  command: string,
  args: readonly string[],
): Promise<{ readonly child: Deno.ChildProcess; readonly port: number }> {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const port = Number(new TextDecoder().decode(value).trim());
  if (!(port > 0)) throw new EnclaveError(`${command} did not start`, { code: "bench" });
  return { child, port };
}

/** A `configure` that the benchmark's KMS takes. */
export const CONFIGURE = {
  type: "configure",
  encrypted_tsk: "AAAA",
  access_key_id: "bench",
  secret_access_key: "bench",
} as const;

/** Sends one request on a connection of its own, u32be, and reads some of the reply. */
async function send(port: number, request: Record<string, unknown>): Promise<void> {
  const { Client } = await import("../../lib/ctl/client/client.ts");
  using client = await Client.connect({ transport: "tcp", hostname: "127.0.0.1", port });
  await client.request(request);
}

interface RunningPeer {
  readonly child: Deno.ChildProcess;
  readonly port: number;
}

/** One of ours: of this checkout, or of another. */
async function startOurs(
  checkout: string,
  { key, kmsMs = 0, processes = 1, workflowMs = 5_000 }: PeerOptions,
): Promise<RunningPeer> {
  const library = await isFile(AWS_LC) ? [AWS_LC] : [];
  const running = await start(Deno.execPath(), [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-lock",
    "--allow-net=127.0.0.1",
    `--allow-ffi=${[...library, ...LIBC_PATHS].join(",")}`,
    `--allow-run=${Deno.execPath()}`,
    `${checkout}/tests/bench/service_main.ts`,
    key,
    String(kmsMs),
    library[0] ?? "",
    ...[processes, workflowMs].map(String),
  ]);
  await send(running.port, CONFIGURE);
  return running;
}

/** The services, running. */
export class Peers implements AsyncDisposable {
  readonly #peers: ReadonlyMap<Peer, RunningPeer>;

  private constructor(peers: ReadonlyMap<Peer, RunningPeer>) {
    this.#peers = peers;
  }

  /** Starts those of a list that are available. */
  static async start(names: readonly Peer[], options: PeerOptions): Promise<Peers> {
    const { key, before } = options;
    const peers = new Map<Peer, RunningPeer>();
    for (const name of names) {
      switch (name) {
        case "ours":
          peers.set(name, await startOurs(`${HERE}../..`, options));
          break;
        case "before":
          if (before !== undefined) peers.set(name, await startOurs(before, options));
          break;
        case "rust":
          if (await isFile(RUST)) peers.set(name, await start(RUST, [key]));
          break;
        case "python":
          peers.set(name, await start(`${VENV}/bin/python`, [`${HERE}python_service.py`, key]));
          break;
        default:
          return name satisfies never;
      }
    }
    return new Peers(peers);
  }

  /** Those that run. */
  get names(): readonly Peer[] {
    return [...this.#peers.keys()];
  }

  #get(peer: Peer): RunningPeer {
    const running = this.#peers.get(peer);
    if (running === undefined) throw new EnclaveError(`${peer} does not run`, { code: "bench" });
    return running;
  }

  /** Where one listens on loopback. */
  port(peer: Peer): number {
    return this.#get(peer).port;
  }

  /** The process id of one. */
  pid(peer: Peer): number {
    return this.#get(peer).child.pid;
  }

  /** Loads one of them. */
  async load(peer: Peer, connections: number, ms: number, file: string): Promise<LoadResult> {
    const { port, child } = this.#get(peer);
    const before = await cpuSeconds(child.pid);
    const result = JSON.parse(
      await run(`${BUILD}/load_generator`, [String(port), String(connections), String(ms), file]),
    ) as Omit<LoadResult, "cpu_seconds">;
    if (result.errors > 0 || result.requests === 0) {
      throw new EnclaveError(`${peer} answered ${result.errors} of ${result.requests} requests wrongly`, {
        code: "bench",
      });
    }
    return { ...result, cpu_seconds: await cpuSeconds(child.pid) - before };
  }

  /** Resident memory of one, MB. */
  async residentMb(peer: Peer): Promise<number> {
    return Math.round(
      Number(await run("ps", ["-o", "rss=", "-p", String(this.#get(peer).child.pid)])) / 1024,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.#peers.values()) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
    }
  }
}
