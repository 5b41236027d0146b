/**
 * The two services as processes, and the load generator: built, started, measured, ended.
 *
 * @module
 */
import { EnclaveError } from "../../lib/errors.ts";

const HERE = new URL(".", import.meta.url).pathname;
/** Where built things go; not in the repository. */
export const BUILD = `${HERE}build`;
const VENV = `${BUILD}/venv`;

/** Which service. */
export type Peer = "ours" | "python";

/** What the load generator measured. */
export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly errors: number;
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

/** Compiles the load generator and makes Python's environment, where they are not there yet. */
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

/** Sends one request on a connection of its own, u32be, and reads some of the reply. */
async function send(port: number, request: Record<string, unknown>): Promise<void> {
  const { Client } = await import("../../lib/parent/client.ts");
  using client = await Client.connect({ transport: "tcp", hostname: "127.0.0.1", port });
  await client.request(request);
}

/** Both services, running. */
export class Peers implements AsyncDisposable {
  readonly #peers: Readonly<Record<Peer, { readonly child: Deno.ChildProcess; readonly port: number }>>;

  private constructor(peers: Record<Peer, { readonly child: Deno.ChildProcess; readonly port: number }>) {
    this.#peers = peers;
  }

  /** Starts both with this key. */
  static async start(key: string): Promise<Peers> {
    const ours = await start(Deno.execPath(), [
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-net=127.0.0.1",
      `${HERE}service_main.ts`,
      key,
    ]);
    const python = await start(`${VENV}/bin/python`, [`${HERE}python_service.py`, key]);
    await send(ours.port, {
      type: "configure",
      encrypted_tsk: "AAAA",
      access_key_id: "bench",
      secret_access_key: "bench",
    });
    return new Peers({ ours, python });
  }

  /** Loads one of them. */
  async load(peer: Peer, connections: number, ms: number, file: string): Promise<LoadResult> {
    const { port } = this.#peers[peer];
    const result = JSON.parse(
      await run(`${BUILD}/load_generator`, [String(port), String(connections), String(ms), file]),
    ) as LoadResult;
    if (result.errors > 0 || result.requests === 0) {
      throw new EnclaveError(`${peer} answered ${result.errors} of ${result.requests} requests wrongly`, {
        code: "bench",
      });
    }
    return result;
  }

  /** Resident memory of ours, MB. */
  async residentMb(): Promise<number> {
    return Math.round(
      Number(await run("ps", ["-o", "rss=", "-p", String(this.#peers.ours.child.pid)])) / 1024,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of Object.values(this.#peers)) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
    }
  }
}
