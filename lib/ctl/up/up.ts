/**
 * `denclavectl up`: keeps what `denclave.yaml` names running. Composes the vsock-proxy, the enclaves'
 * supervisors, the listeners for clients and the server of the state.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import type { Address } from "../../shared/wire/address.ts";
import { Bridge, type BridgeListen } from "../bridge/bridge.ts";
import { Turn } from "./pauses.ts";
import type { EnclavePlan, UpPlan } from "./plan.ts";
import type { ProxyKeeper } from "./proxy.ts";
import { isServing, serveStatus, type StatusServer } from "./status_server.ts";
import type { UpState } from "./state.ts";
import { Supervisor, type SupervisorPorts } from "./supervisor.ts";

/** What it works with: the parts of supervisors that do not differ, and what starts a proxy. */
export interface UpPorts
  extends Omit<SupervisorPorts, "limits" | "turn" | "changed" | "serves" | "open" | "follow"> {
  readonly open: (plan: UpPlan) => SupervisorPorts["open"];
  readonly follow: (plan: UpPlan) => SupervisorPorts["follow"];
  readonly keepProxy: (proxy: NonNullable<UpPlan["proxy"]>, changed: () => void) => ProxyKeeper;
  readonly prometheusText: (state: UpState) => Promise<string>;
  /** When the credentials of an enclave were fetched, milliseconds since 1970; undefined before. */
  readonly credentialsSince: () => number | undefined;
  /** Lines for systemd. */
  readonly notify: (...lines: readonly string[]) => Promise<void>;
}

/** How long a client's connection waits for an enclave that is being started again. Milliseconds. */
const CLIENT_WAIT_MS = 10_000;
/** Between two lines about clients that could not be served. */
const QUIET_MS = 10_000;

/** The listeners for the clients of one enclave; they wait while it is being renewed. */
class Listeners {
  /** Where they listen. */
  where: readonly BridgeListen[] = [];
  #bridges: Bridge[] = [];
  #address = Promise.withResolvers<Address>();
  #isKnown = false;

  /** Where the enclave is; undefined while it is not ready. */
  reach(address: Address | undefined): void {
    if (this.#isKnown) this.#address = Promise.withResolvers();
    this.#isKnown = address !== undefined;
    if (address !== undefined) this.#address.resolve(address);
  }

  /** @throws {EnclaveError} when an address cannot be listened on; then none is */
  async open(listen: readonly BridgeListen[], onProblem: (what: string) => void): Promise<void> {
    try {
      for (const where of listen) {
        if (where.kind === "raw" && where.address.transport === "unix") await removeStale(where.address);
        this.#bridges.push(
          await Bridge.start({
            listen: where,
            target: () => this.#address.promise,
            limits: { connectMs: CLIENT_WAIT_MS },
            onProblem,
          }),
        );
      }
    } catch (thrown) {
      await this.close();
      throw thrown;
    }
    this.where = listen;
  }

  async close(): Promise<void> {
    this.where = [];
    const bridges = this.#bridges.splice(0);
    await Promise.all(bridges.map((bridge) => bridge[Symbol.asyncDispose]()));
  }
}

/** Removes the socket that an `up` left behind which was killed. One that is in use stays. */
async function removeStale(address: Extract<Address, { transport: "unix" }>): Promise<void> {
  try {
    (await Deno.connect(address)).close();
  } catch (thrown) {
    if (thrown instanceof Deno.errors.ConnectionRefused) await Deno.remove(address.path);
  }
}

/** What one enclave has. */
interface Kept {
  readonly supervisor: Supervisor;
  readonly listeners: Listeners;
}

/** What differs between two plans of an enclave; undefined: nothing that the enclave would notice. */
function changeOf(before: EnclavePlan, after: EnclavePlan): "keys" | "enclave" | undefined {
  const { listen: _, sessionKey: __, ...old } = before.enclave;
  const { listen: ___, sessionKey: ____, ...next } = after.enclave;
  const image = (plan: EnclavePlan, options: object) => JSON.stringify([plan.pcrs, options]);
  if (image(before, old) !== image(after, next)) return "enclave";
  const keys = ({ sessionKey, masterKeys }: EnclavePlan) => JSON.stringify([sessionKey, masterKeys]);
  return keys(before) === keys(after) ? undefined : "keys";
}

/** All that runs. */
export class Up {
  #plan: UpPlan;
  #ports: UpPorts;
  #startedAt: number;
  #turn = new Turn();
  #kept = new Map<string, Kept>();
  #proxy: ProxyKeeper | undefined;
  #server: StatusServer | undefined;
  #isReady = false;
  #told = "";
  #stopped = false;

  constructor(plan: UpPlan, ports: UpPorts) {
    this.#plan = plan;
    this.#ports = ports;
    this.#startedAt = ports.wallClock();
  }

  get state(): UpState {
    const { credentialsSince, wallClock } = this.#ports;
    const since = credentialsSince();
    const credentials = since === undefined
      ? {}
      : { credentialsAgeSeconds: Math.round((wallClock() - since) / 1_000) };
    return {
      startedAt: this.#startedAt,
      proxy: this.#proxy?.state,
      enclaves: [...this.#kept.values()].map(({ supervisor }) => ({ ...supervisor.state, ...credentials })),
    };
  }

  /**
   * Starts everything; returns when all listens, not when all serves.
   *
   * @throws {EnclaveError} `listen_failed`; what was started is then to be stopped
   */
  async start(): Promise<void> {
    const { log, prometheusText } = this.#ports;
    for (const warning of this.#plan.warnings) log("warn", "configuration", { warning });
    this.#server = await serveStatus(this.#plan.config.metrics, { state: () => this.state, prometheusText });
    log("info", "listening", { metrics: this.#server.address });
    for (const plan of this.#plan.enclaves) await this.#add(plan);
    this.#startProxy();
    for (const { supervisor } of this.#kept.values()) supervisor.start();
  }

  #startProxy(): void {
    const { proxy } = this.#plan;
    this.#proxy = proxy === undefined ? undefined : this.#ports.keepProxy(proxy, () => this.#changed());
  }

  async #add(plan: EnclavePlan): Promise<Kept> {
    const listeners = new Listeners();
    const { limits } = this.#plan.config;
    const supervisor = new Supervisor(plan, {
      ...this.#ports,
      // Looked up at each use: another plan may have come.
      open: (...args) => this.#ports.open(this.#plan)(...args),
      follow: (...args) => this.#ports.follow(this.#plan)(...args),
      limits,
      turn: this.#turn,
      changed: () => this.#changed(),
      serves: (_, address) => listeners.reach(address),
    });
    const kept = { supervisor, listeners };
    await this.#listen(kept, plan);
    this.#kept.set(plan.enclave.name, kept);
    return kept;
  }

  async #listen({ listeners }: Kept, { enclave: { name, listen } }: EnclavePlan): Promise<void> {
    const { log, now } = this.#ports;
    let [count, quietUntil] = [0, -Infinity];
    // A client that tries again and again must not fill the log.
    const onProblem = (what: string) => {
      count++;
      if (now() < quietUntil) return;
      log("warn", "client_failed", { enclave: name, what, count });
      [count, quietUntil] = [0, now() + QUIET_MS];
    };
    await listeners.open(listen, onProblem);
  }

  /** Tells systemd what has changed. */
  #changed(): void {
    if (this.#stopped || this.#kept.size === 0) return;
    const { enclaves } = this.state;
    if (enclaves.length === this.#plan.enclaves.length && isServing(this.state) && !this.#isReady) {
      this.#isReady = true;
      void this.#ports.notify("READY=1");
    }
    const status = enclaves.map(({ name, phase, reason }) => `${name}: ${phase}: ${reason}`).join("; ");
    if (status === this.#told) return;
    this.#told = status;
    void this.#ports.notify(`STATUS=${status.slice(0, 500)}`);
  }

  /**
   * Takes another plan: what has changed is stopped and started, one enclave at a time; what has not runs on,
   * and is tried again at once if it waits.
   */
  async reload(plan: UpPlan): Promise<void> {
    const { log } = this.#ports;
    const before = this.#plan;
    this.#plan = plan;
    for (const warning of plan.warnings) log("warn", "configuration", { warning });
    if (JSON.stringify(before.config.metrics) !== JSON.stringify(plan.config.metrics)) {
      log("warn", "configuration", {
        warning: "metrics: another address is used after up itself is started again",
      });
    }
    if (JSON.stringify(before.config.limits) !== JSON.stringify(plan.config.limits)) {
      log("warn", "configuration", { warning: "limits: others are used after up itself is started again" });
    }
    if (JSON.stringify(before.proxy) !== JSON.stringify(plan.proxy)) {
      await this.#proxy?.stop();
      this.#startProxy();
    }
    const wanted = new Set(plan.enclaves.map(({ enclave }) => enclave.name));
    for (const [name, { supervisor, listeners }] of this.#kept) {
      if (wanted.has(name)) continue;
      await listeners.close();
      await supervisor.stop({ keep: false });
      this.#kept.delete(name);
    }
    for (const next of plan.enclaves) {
      const kept = this.#kept.get(next.enclave.name);
      if (kept === undefined) (await this.#add(next)).supervisor.start();
      else await this.#update(kept, next);
    }
    this.#changed();
  }

  async #update(kept: Kept, next: EnclavePlan): Promise<void> {
    const before = kept.supervisor.plan;
    if (JSON.stringify(kept.listeners.where) !== JSON.stringify(next.enclave.listen)) {
      await kept.listeners.close();
      await this.#listen(kept, next);
    }
    const change = changeOf(before, next);
    this.#ports.log("info", "reloaded", { enclave: next.enclave.name, change: change ?? "none" });
    kept.supervisor.update(next, change);
  }

  /** Ends in order: clients, enclaves, proxy, the server of the state. */
  async stop({ keep }: { readonly keep: boolean }): Promise<void> {
    const { log, notify } = this.#ports;
    await notify("STOPPING=1");
    const kept = [...this.#kept.values()];
    const all = async (what: string, works: readonly Promise<void>[]) => {
      for (const outcome of await Promise.allSettled(works)) {
        if (outcome.status === "rejected") {
          log("error", "stop_failed", { what, message: messageOf(outcome.reason) });
        }
      }
    };
    await all("listeners", kept.map(({ listeners }) => listeners.close()));
    await all("enclaves", kept.map(({ supervisor }) => supervisor.stop({ keep })));
    this.#stopped = true;
    if (this.#proxy !== undefined) await all("proxy", [this.#proxy.stop()]);
    await this.#server?.[Symbol.asyncDispose]();
    log("info", "stopped", { keep });
  }
}

/**
 * A log of JSON lines. What cannot be written, on a full disk, is counted and said later: `up` itself goes
 * on.
 */
export function jsonLog(
  write: (line: string) => void,
  now: () => Date,
): { readonly log: Log; readonly put: (fields: object) => void } {
  let lost = 0;
  const put = (fields: object) => {
    try {
      if (lost > 0) {
        write(
          `${
            JSON.stringify({ time: now().toISOString(), level: "warn", event: "log_lines_lost", lines: lost })
          }\n`,
        );
        lost = 0;
      }
      write(`${JSON.stringify(fields)}\n`);
    } catch {
      lost++;
    }
  };
  return {
    put,
    log: (level, event, fields = {}) => put({ time: now().toISOString(), level, event, ...fields }),
  };
}
