/**
 * AWS's `vsock-proxy` as a child, started again whenever it ends. TLS ends in the enclave: the proxy sees
 * only encrypted bytes.
 *
 * Permission: to run `vsock-proxy` and `ps`.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { within } from "../../shared/within.ts";
import { runToEnd } from "../terminal/run_program.ts";
import type { UpPlan } from "./plan.ts";
import type { UpState } from "./state.ts";

type ProxyPlan = NonNullable<UpPlan["proxy"]>;

/** A process that was started. */
export interface ProxyProcess {
  /** Resolves when it has ended, with its exit code and the last line of what it printed. */
  readonly ended: Promise<{ readonly code: number; readonly last: string }>;
  readonly kill: () => void;
}

/** What the keeper works with. */
export interface ProxyPorts {
  /** Whether one with these arguments runs already, which an earlier `up` left behind. */
  readonly isThere: (args: readonly string[]) => Promise<boolean>;
  /** @throws when the program cannot be started */
  readonly spawn: (args: readonly string[]) => ProxyProcess;
  readonly log: Log;
  readonly after: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Monotonic, milliseconds. */
  readonly now: () => number;
  readonly changed: () => void;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
const STEADY_MS = 60_000;
const LOOK_AGAIN_MS = 5_000;
const LIST_MS = 10_000;
/** For what an ended process has written to be read. */
const LAST_WORDS_MS = 200;

/** The arguments of vsock-proxy. */
export function proxyArguments({ port, remote, workers, config }: ProxyPlan): readonly string[] {
  return ["--num_workers", String(workers), "--config", config, String(port), remote, "443"];
}

/** Keeps a vsock-proxy running. */
export class ProxyKeeper {
  #ports: ProxyPorts;
  #args: readonly string[];
  #process: ProxyProcess | undefined;
  #isTakenOver = false;
  #restarts = 0;
  #stopping = new AbortController();
  #done: Promise<void>;

  constructor(plan: ProxyPlan, ports: ProxyPorts) {
    this.#ports = ports;
    this.#args = proxyArguments(plan);
    this.#done = this.#run();
  }

  get state(): NonNullable<UpState["proxy"]> {
    return { running: this.#isTakenOver || this.#process !== undefined, restarts: this.#restarts };
  }

  async #run(): Promise<void> {
    const { spawn, log, after, now, changed } = this.#ports;
    let pauseMs = FIRST_PAUSE_MS;
    for (; await this.#isLeftBehind(); await after(LOOK_AGAIN_MS, this.#stopping.signal));
    while (!this.#stopping.signal.aborted) {
      const begun = now();
      try {
        this.#process = spawn(this.#args);
        log("info", "proxy_started", { arguments: this.#args.join(" ") });
        changed();
        const { code, last } = await this.#process.ended;
        if (!this.#stopping.signal.aborted) log("error", "proxy_ended", { code, last });
      } catch (thrown) {
        log("error", "proxy_failed", { message: messageOf(thrown) });
      }
      this.#process = undefined;
      changed();
      if (this.#stopping.signal.aborted) return;
      if (now() - begun >= STEADY_MS) pauseMs = FIRST_PAUSE_MS;
      await after(pauseMs, this.#stopping.signal);
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
      this.#restarts++;
    }
  }

  /** Whether the proxy of an earlier `up` still runs. Its end cannot be awaited, so it is looked for. */
  async #isLeftBehind(): Promise<boolean> {
    const { isThere, log, changed } = this.#ports;
    const before = this.#isTakenOver;
    this.#isTakenOver = !this.#stopping.signal.aborted && await isThere(this.#args).catch(() => false);
    if (this.#isTakenOver && !before) log("info", "proxy_taken_over", { arguments: this.#args.join(" ") });
    if (this.#isTakenOver !== before) changed();
    return this.#isTakenOver;
  }

  /** Ends it, unless an earlier `up` started it. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#process?.kill();
    await this.#done;
  }
}

/** Looks for a vsock-proxy with these arguments among the processes of this machine. */
export async function isProxyThere(args: readonly string[]): Promise<boolean> {
  const { stdout } = await runToEnd("ps", ["-ww", "-eo", "args="], LIST_MS);
  return stdout.split("\n").some((line) => line.trim().endsWith(`vsock-proxy ${args.join(" ")}`));
}

/** Starts the vsock-proxy of PATH. */
export function spawnProxy(args: readonly string[]): ProxyProcess {
  const child = new Deno.Command("vsock-proxy", {
    args: [...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let last = "";
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  const reading = (async () => {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      last = read.value.trim().split("\n").at(-1)?.slice(0, 300) || last;
    }
  })();
  return {
    ended: child.status.then(async ({ code }) => {
      // A child of its own may keep its stderr open.
      await within(LAST_WORDS_MS, reading, () => new Error("more may come")).catch(() => reader.cancel());
      return { code, last };
    }),
    kill: () => {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
    },
  };
}
