/**
 * A service that runs as its own process, the way an enclave runs it: started, watched through its log,
 * stopped.
 *
 * @module
 */
import { within } from "./deadline.ts";
import { type Address, parseAddress } from "../../lib/shared/wire/address.ts";

/** How to start it. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A line of the service's log. */
export type LogLine = Readonly<Record<string, unknown>>;

const START_MS = 20_000;

/** A process and its log. */
export class ServiceProcess implements AsyncDisposable {
  readonly lines: LogLine[] = [];
  stderr = "";
  #child: Deno.ChildProcess;
  #listening = Promise.withResolvers<Address>();
  #awaited = new Map<string, PromiseWithResolvers<LogLine>>();
  #ended: Promise<Deno.CommandStatus>;

  private constructor(launch: Launch) {
    this.#child = new Deno.Command(launch.command, {
      args: [...launch.args],
      env: { ...launch.env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#listening.promise.catch(() => {});
    const done = Promise.all([this.#readLog(), this.#readStderr()]);
    this.#ended = done.then(() => this.#child.status).then((status) => {
      this.#listening.reject(new Error(`it ended with ${status.code}: ${this.stderr}`));
      return status;
    });
  }

  /** Starts it; does not wait for it to listen. */
  static spawn(launch: Launch): ServiceProcess {
    return new ServiceProcess(launch);
  }

  /** Starts it, and waits until it listens. */
  static async start(launch: Launch): Promise<ServiceProcess & { readonly address: Address }> {
    const service = new ServiceProcess(launch);
    const address = await within(service.#listening.promise, "starting the service", START_MS);
    return Object.assign(service, { address });
  }

  get pid(): number {
    return this.#child.pid;
  }

  async #readLog(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line) as LogLine);
    }
  }

  #take(line: LogLine): void {
    this.lines.push(line);
    if (line["event"] === "listening") this.#listening.resolve(parseAddress(String(line["address"])));
    this.#awaited.get(String(line["event"]))?.resolve(line);
  }

  /** Waits until the log has a line of this event; gives the first one. */
  logged(name: string): Promise<LogLine> {
    const line = this.events(name)[0];
    if (line !== undefined) return Promise.resolve(line);
    const awaited = this.#awaited.get(name) ?? Promise.withResolvers<LogLine>();
    this.#awaited.set(name, awaited);
    return within(awaited.promise, `${name} in the log`, START_MS);
  }

  async #readStderr(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) this.stderr += text;
  }

  /** The lines of one event. */
  events(name: string): readonly LogLine[] {
    return this.lines.filter((line) => line["event"] === name);
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus> {
    this.kill(signal);
    return await within(this.#ended, "ending the service", 15_000);
  }

  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Waits for the end. */
  ended(ms = 15_000): Promise<Deno.CommandStatus> {
    return within(this.#ended, "the end of the service", ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.ended();
  }
}
