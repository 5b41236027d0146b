/**
 * Keeps one enclave running: starts it or takes over one that runs, waits until it answers, verifies its
 * attestation document, sends the keys, watches. All that it touches comes from outside as {@link
 * SupervisorPorts}.
 *
 * @module
 */
import { AttestationError } from "../../shared/attestation/errors.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import type { Log } from "../../shared/log.ts";
import type { Address } from "../../shared/wire/address.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import { ServiceError } from "../client/client.ts";
import type { UpLimits } from "./config.ts";
import type { NitroCli, RunningEnclave } from "../nitro/cli.ts";
import { oneLine } from "../terminal/printing.ts";
import { Misses, Pauses, type Turn } from "./pauses.ts";
import { type EnclavePlan, knownAddress } from "./plan.ts";
import type { EnclaveState, Phase } from "./state.ts";

/** A connection to an enclave's service. Every call has a deadline. */
export interface EnclaveLink extends Disposable {
  /** The reply, whatever its status. */
  readonly health: () => Promise<WireObject>;
  readonly metrics: () => Promise<WireObject>;
  /**
   * How far the enclave's clock is ahead of this machine's; undefined where it does not say. Milliseconds.
   */
  readonly clockDifference: () => Promise<number | undefined>;
  /** Has it attest, and verifies the document. @throws {AttestationError} */
  readonly attest: () => Promise<void>;
  /**
   * Sends the session key of the plan, if it has one, sealed for the attested key.
   *
   * @param health the last reply
   */
  readonly sendSessionKey: (health: WireObject) => Promise<void>;
  /** Sends the master keys of the plan, if it has any, in the same way. */
  readonly sendMasterKeys: () => Promise<void>;
}

/** What follows an enclave's log. */
export interface LogFollower {
  /** Takes what there is still, and ends. */
  readonly stop: () => Promise<void>;
  /** The name of the last event, and its time. */
  readonly last: () => string | undefined;
}

/** What a supervisor works with. */
export interface SupervisorPorts {
  readonly nitro: NitroCli;
  readonly open: (address: Address, plan: EnclavePlan) => EnclaveLink;
  /** @param onLost called when a connection that worked has ended */
  readonly follow: (address: Address, plan: EnclavePlan, onLost: () => void) => LogFollower;
  readonly limits: UpLimits;
  readonly turn: Turn;
  readonly log: Log;
  /** Resolves after so many milliseconds, or when the signal is aborted. */
  readonly after: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Monotonic, milliseconds. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** Called when the state has changed. */
  readonly changed: () => void;
  /** The enclave serves clients at this address now, or no longer at any. */
  readonly serves: (name: string, address: Address | undefined) => void;
}

/** Why an enclave, or its keys, had to be renewed. */
type Reason = "health" | "boot" | "state" | "schedule" | "attestation" | "changed";

/** The enclave no longer does what it should. */
class Left extends Error {
  override name = "Left";
  readonly reason: Reason;
  /** Whether the enclave is to be ended. */
  readonly ends: boolean;

  constructor(reason: Reason, why: string, { ends }: { readonly ends: boolean }) {
    super(why);
    this.reason = reason;
    this.ends = ends;
  }
}

/** What ends a pause: `lost` is a connection that has ended, `woken` another plan. */
type Bell = "stop" | "woken" | "lost";

const ANSWER_POLL_MS = 25;
/** Between two looks at nitro-cli's list while an enclave starts. */
const LIST_EVERY_MS = 1_000;
const ATTEST_EVERY_MS = 600_000;
const ATTEST_AGAIN_MS = 60_000;
const MAX_UNATTESTED = 3;
const HOUR_S = 3_600;
/** The parent's clock or the enclave's is wrong: a restart would not help. */
const CLOCK_CODES: readonly string[] = ["attestation_stale", "attestation_expired"];

/** Whether the enclave did not show what it is; not because of a clock. */
function isUnattested(thrown: unknown): boolean {
  if (thrown instanceof AttestationError) return !CLOCK_CODES.includes(thrown.code);
  return thrown instanceof ServiceError && thrown.code === "attestation_unavailable";
}

/** What failed, and what to do, in one line. */
function sentence(thrown: unknown): string {
  const hint = thrown instanceof EnclaveError && thrown.hint !== undefined ? `. ${thrown.hint}` : "";
  return `${messageOf(thrown)}${hint}`;
}

function numberIn(reply: WireObject, name: string): number | undefined {
  const value = reply[name];
  return typeof value === "number" ? value : undefined;
}

function textIn(reply: WireObject, name: string): string | undefined {
  const value = reply[name];
  return typeof value === "string" ? value : undefined;
}

/** One enclave's keeper. */
export class Supervisor {
  #plan: EnclavePlan;
  #ports: SupervisorPorts;
  #state: EnclaveState;
  #pauses: Pauses;
  #running: Pick<RunningEnclave, "id" | "cid"> | undefined;
  #follower: LogFollower | undefined;
  #unattested = 0;
  /** What another plan asks for. */
  #pending: "keys" | "enclave" | undefined;
  #link: EnclaveLink | undefined;
  /** What has happened and was not looked at yet. */
  #rung = new Set<Bell>();
  /** The pause of the moment, and what ends it. */
  #pausing: { readonly end: AbortController; readonly hears: readonly Bell[] } | undefined;
  #done: Promise<void> | undefined;

  constructor(plan: EnclavePlan, ports: SupervisorPorts) {
    this.#plan = plan;
    this.#ports = ports;
    this.#pauses = new Pauses(ports.limits);
    this.#state = {
      name: plan.enclave.name,
      phase: "starting",
      reason: "up has started",
      since: ports.wallClock(),
      restarts: {},
      pcr0: plan.pcrs[0],
    };
  }

  get state(): EnclaveState {
    return this.#state;
  }

  get plan(): EnclavePlan {
    return this.#plan;
  }

  /** Begins. */
  start(): void {
    this.#done ??= this.#run();
  }

  /**
   * Gives it another plan, or the same one to try again at once.
   *
   * @param change what has to be renewed for it
   */
  update(plan: EnclavePlan, change: "keys" | "enclave" | undefined): void {
    this.#plan = plan;
    this.#set({ pcr0: plan.pcrs[0] });
    this.#pending = change === "keys" && this.#pending === "enclave" ? "enclave" : change ?? this.#pending;
    this.#ring("woken");
  }

  /** Ends, and its enclave with it, unless that is to be kept. */
  async stop({ keep }: { readonly keep: boolean }): Promise<void> {
    this.#ring("stop");
    this.#link?.[Symbol.dispose]();
    await this.#done;
    await this.#stopFollowing();
    if (!keep) await this.#terminate("up ends");
    this.#ports.turn.give(this.#plan.enclave.name);
    this.#enter("stopped", keep ? "up has ended, the enclave runs on" : "up has ended");
  }

  get #isStopping(): boolean {
    return this.#rung.has("stop");
  }

  #ring(bell: Bell): void {
    this.#rung.add(bell);
    if (this.#pausing?.hears.includes(bell)) this.#pausing.end.abort();
  }

  #set(fields: { readonly [Name in keyof EnclaveState]?: EnclaveState[Name] | undefined }): void {
    this.#state = { ...this.#state, ...fields } as EnclaveState;
    this.#ports.changed();
  }

  #log: Log = (level, event, fields) =>
    this.#ports.log(level, event, { enclave: this.#plan.enclave.name, ...fields });

  /** @param why may have an enclave's own words; systemd and `/healthz` take each line as a statement */
  #enter(phase: Phase, why: string): void {
    const { phase: before } = this.#state;
    const reason = oneLine(why);
    const since = phase === before ? this.#state.since : this.#ports.wallClock();
    this.#set({ phase, reason, since });
    this.#log(phase === "waiting" ? "warn" : "info", phase, { reason });
  }

  /** Waits, unless one of these has happened. */
  async #pause(ms: number, ...hears: readonly Bell[]): Promise<void> {
    const all = ["stop", ...hears] as const;
    if (!all.some((bell) => this.#rung.has(bell))) {
      this.#pausing = { end: new AbortController(), hears: all };
      await this.#ports.after(ms, this.#pausing.end.signal);
      this.#pausing = undefined;
    }
    for (const bell of hears) this.#rung.delete(bell);
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      let pauseMs = 0;
      try {
        await this.#live();
      } catch (thrown) {
        if (this.#isStopping) return;
        pauseMs = await this.#recover(thrown);
      }
      if (pauseMs > 0) await this.#pause(pauseMs, "woken");
    }
  }

  /** @returns how long to wait before the next attempt */
  async #recover(thrown: unknown): Promise<number> {
    const { turn, now } = this.#ports;
    if (thrown instanceof Left) {
      const { reason, message: why } = thrown;
      this.#serve(undefined);
      this.#count(reason);
      this.#log("warn", "restart", { reason, why, last_event: this.#follower?.last() });
      const isWanted = reason === "schedule" || reason === "changed";
      const pauseMs = isWanted ? 0 : this.#pauses.afterServing(now());
      this.#enter("waiting", why);
      if (thrown.ends) await this.#terminate(why);
      return pauseMs;
    }
    const pauseMs = this.#pauses.afterFailure();
    this.#enter("waiting", `${sentence(thrown)} (the next attempt is in ${pauseMs / 1_000} s)`);
    if (isUnattested(thrown)) this.#serve(undefined);
    if (isUnattested(thrown) && ++this.#unattested >= MAX_UNATTESTED && turn.take(this.#plan.enclave.name)) {
      this.#unattested = 0;
      this.#count("attestation");
      await this.#terminate(`${MAX_UNATTESTED} attestations in a row failed`);
    }
    return pauseMs;
  }

  #serve(address: Address | undefined): void {
    this.#ports.serves(this.#plan.enclave.name, address);
  }

  #count(reason: Reason): void {
    const { restarts } = this.#state;
    this.#set({ restarts: { ...restarts, [reason]: (restarts[reason] ?? 0) + 1 } });
  }

  /**
   * One life of the enclave, or what is left of it. Does not return, but throws: why it is over, or what
   * failed.
   */
  async #live(): Promise<never> {
    if (this.#pending === "enclave") await this.#terminate("its image or an option has changed");
    this.#pending = undefined;
    const { enclave } = this.#plan;
    const running = await this.#find() ?? await this.#startNew();
    this.#running = running;
    this.#set({ enclaveId: running.id, cid: running.cid });
    const address = knownAddress(enclave) ?? { transport: "vsock", cid: running.cid, port: enclave.port };
    using link = this.#ports.open(address, this.#plan);
    this.#link = link;
    const health = await this.#firstAnswer(link, running);
    this.#follower ??= this.#ports.follow(address, this.#plan, () => this.#ring("lost"));
    await this.#verify(link);
    this.#enter("configuring", "the document is that of the build");
    await link.sendSessionKey(health);
    this.#serve(address);
    await link.sendMasterKeys();
    await this.#look(link);
    this.#enter("serving", "it has its keys");
    this.#ports.turn.give(enclave.name);
    this.#pauses.serving(this.#ports.now());
    return await this.#watch(link, running);
  }

  async #verify(link: EnclaveLink): Promise<void> {
    this.#enter("verifying", "it answers: its attestation document is verified before anything is sent");
    await link.attest();
    this.#unattested = 0;
  }

  /** The enclave that runs already, if one does. */
  async #find(): Promise<Pick<RunningEnclave, "id" | "cid"> | undefined> {
    const { enclave: { name, cid }, pcrs } = this.#plan;
    const all = (await this.#ports.nitro.list()).filter(({ state }) => state === "RUNNING");
    const mine = all.find((one) => one.id === this.#running?.id && one.id !== "");
    if (mine !== undefined) return mine;
    await this.#stopFollowing();
    const known = all.find((one) =>
      one.pcr0 === pcrs[0] && one.isDebug !== true &&
      (cid === undefined ? one.name === name : one.cid === cid)
    );
    if (known !== undefined) {
      this.#enter(
        "starting",
        `enclave ${known.id} with CID ${known.cid} and this PCR0 runs already: it is taken over`,
      );
      return known;
    }
    const other = all.find((one) => one.name === name || one.cid === cid);
    if (other === undefined) return undefined;
    if (other.name !== name || other.isDebug === true) {
      throw new EnclaveError(
        `Enclave ${other.name} (${other.id}), which is not of this file, has CID ${other.cid}`,
        {
          code: "cid_taken",
          hint: `End it: nitro-cli terminate-enclave --enclave-id ${other.id}; or choose another CID.`,
        },
      );
    }
    this.#count("changed");
    this.#running = other;
    await this.#terminate("it runs another build than the file names");
    return undefined;
  }

  async #startNew(): Promise<Pick<RunningEnclave, "id" | "cid">> {
    const { enclave: { name, image, cpus, memoryMib, cid } } = this.#plan;
    this.#serve(undefined);
    this.#set({ bootId: undefined, health: undefined, metrics: undefined });
    this.#enter("starting", `nitro-cli starts ${image}`);
    const started = await this.#ports.nitro.run({ name, image, cpus, memoryMib, cid });
    this.#log("info", "started", { enclave_id: started.id, cid: started.cid });
    return started;
  }

  /** Waits for the service. */
  async #firstAnswer(link: EnclaveLink, running: Pick<RunningEnclave, "id">): Promise<WireObject> {
    const { limits, now } = this.#ports;
    const begun = now();
    let looked = begun;
    for (;;) {
      try {
        return this.#note(await link.health());
      } catch (thrown) {
        if (this.#isStopping) throw thrown;
        if (now() - begun >= limits.startMs) {
          throw new Left(
            "health",
            `its service did not answer within ${limits.startMs} ms: ${messageOf(thrown)}`,
            {
              ends: true,
            },
          );
        }
      }
      if (now() - looked >= LIST_EVERY_MS) {
        looked = now();
        if (await this.#isGone(running)) {
          throw new Left("health", "it ended before it answered", { ends: false });
        }
      }
      await this.#pause(ANSWER_POLL_MS);
    }
  }

  /** Whether nitro-cli no longer has it. When nitro-cli fails, that is not known. */
  async #isGone({ id }: Pick<RunningEnclave, "id">): Promise<boolean> {
    try {
      return !(await this.#ports.nitro.list()).some((one) => one.id === id && one.state === "RUNNING");
    } catch (thrown) {
      this.#log("warn", "nitro_cli_failed", { message: sentence(thrown) });
      return false;
    }
  }

  /** Keeps what a reply of `health` says. A `busy` service is alive, and says nothing. */
  #note(health: WireObject): WireObject {
    if (health["status"] !== "ok") return health;
    this.#set({
      health,
      bootId: textIn(health, "boot_id"),
      epoch: numberIn(health, "epoch"),
      seals: numberIn(health, "seals"),
    });
    return health;
  }

  /** Takes health and metrics. @throws {Left} when the enclave has restarted or lost its keys */
  async #look(link: EnclaveLink): Promise<void> {
    const before = this.#state.bootId;
    const health = this.#note(await link.health());
    if (health["status"] !== "ok") return;
    const boot = textIn(health, "boot_id");
    if (before !== undefined && boot !== undefined && boot !== before) {
      throw new Left("boot", "another boot of the enclave answers, which has no keys", { ends: false });
    }
    const { sessionKey, masterKeys } = this.#plan;
    if (sessionKey !== undefined && health["configured"] === false) {
      throw new Left("state", "it has no session key", { ends: false });
    }
    if (masterKeys !== undefined && field(health["master_key"], "initialised") === false) {
      throw new Left("state", "it has no master key", { ends: false });
    }
    const metrics = await link.metrics();
    const clockDifferenceMs = await link.clockDifference();
    this.#set({ clockDifferenceMs, ...(metrics["status"] === "ok" ? { metrics } : {}) });
  }

  async #watch(link: EnclaveLink, running: Pick<RunningEnclave, "id">): Promise<never> {
    const { limits, now, turn } = this.#ports;
    const { name, restartHours } = this.#plan.enclave;
    const misses = new Misses(now());
    let attestAt = now() + ATTEST_EVERY_MS;
    for (;;) {
      await this.#pause(limits.healthMs, "woken", "lost");
      if (this.#isStopping) throw new Error("up ends");
      if (this.#pending === "keys") throw new Left("changed", "the file names other keys", { ends: false });
      if (this.#pending === "enclave" && turn.take(name)) {
        throw new Left("changed", "its image or an option has changed", { ends: true });
      }
      try {
        await this.#look(link);
        misses.answered(now());
      } catch (thrown) {
        if (thrown instanceof Left || this.#isStopping) throw thrown;
        if (await this.#isGone(running)) {
          throw new Left("health", "it has ended: nitro-cli no longer lists it", { ends: false });
        }
        if (misses.missed(now())) {
          throw new Left("health", `it has not answered for 15 s: ${messageOf(thrown)}`, { ends: true });
        }
        this.#log("warn", "health_missed", { message: messageOf(thrown) });
        continue;
      }
      const uptime = numberIn(this.#state.health ?? {}, "uptime_s") ?? 0;
      if (restartHours !== undefined && uptime >= restartHours * HOUR_S && turn.take(name)) {
        throw new Left("schedule", `it has run for ${restartHours} h`, { ends: true });
      }
      if (now() >= attestAt) attestAt = now() + await this.#attestAgain(link);
    }
  }

  /**
   * AWS's 4.14 kernel is known to lose its NSM after a day or so.
   *
   * @returns when to ask again, milliseconds
   */
  async #attestAgain(link: EnclaveLink): Promise<number> {
    try {
      await link.attest();
      this.#unattested = 0;
      return ATTEST_EVERY_MS;
    } catch (thrown) {
      this.#log("warn", "attestation_failed", { message: sentence(thrown) });
      if (isUnattested(thrown) && ++this.#unattested >= MAX_UNATTESTED) {
        if (this.#ports.turn.take(this.#plan.enclave.name)) {
          this.#unattested = 0;
          throw new Left("attestation", `${MAX_UNATTESTED} attestations in a row failed`, { ends: true });
        }
      }
      return ATTEST_AGAIN_MS;
    }
  }

  async #stopFollowing(): Promise<void> {
    await this.#follower?.stop();
    this.#follower = undefined;
  }

  /** Ends the enclave, if it runs. One that cannot be ended is reported, and found again later. */
  async #terminate(why: string): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    await this.#stopFollowing();
    this.#running = undefined;
    try {
      await this.#ports.nitro.terminate(running.id);
      this.#log("info", "terminated", { enclave_id: running.id, why });
    } catch (thrown) {
      this.#log("error", "terminate_failed", { enclave_id: running.id, message: sentence(thrown) });
    }
  }
}
