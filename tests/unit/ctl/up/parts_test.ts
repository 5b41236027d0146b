/**
 * The parts of up that talk to others: nitro-cli's output, the followed log, the vsock-proxy, systemd, the
 * server of the state, its own log.
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { followLogs, type FollowPorts, type LogSource } from "../../../../lib/ctl/up/follow_logs.ts";
import { readEnclaves } from "../../../../lib/ctl/nitro/cli.ts";
import { systemdNotifier } from "../../../../lib/ctl/up/notify.ts";
import { ProxyKeeper, type ProxyPorts } from "../../../../lib/ctl/up/proxy.ts";
import { serveStatus } from "../../../../lib/ctl/up/status_server.ts";
import type { EnclaveState, UpState } from "../../../../lib/ctl/up/state.ts";
import { jsonLog } from "../../../../lib/ctl/up/up.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { FakeTime } from "../../../helpers/fake_time.ts";

Deno.test("nitro-cli's list is read, with what it prints before it", () => {
  const one =
    `{"EnclaveName":"main","EnclaveID":"i-1-enc2","EnclaveCID":16,"NumberOfCPUs":2,"MemoryMiB":512,"State":"RUNNING","Flags":"NONE","Measurements":{"PCR0":"AB"}}`;
  const [found] = readEnclaves(`A line of its own\n[${one}]`);
  assertEquals([found?.id, found?.cid, found?.pcr0, found?.isDebug, found?.state], [
    "i-1-enc2",
    16,
    "ab",
    false,
    "RUNNING",
  ]);
  assertEquals(readEnclaves(`[${one.replace("AB", "00")}]`)[0]?.isDebug, true);
  assertEquals(readEnclaves(`[${one.replace("NONE", "DEBUG_MODE")}]`)[0]?.isDebug, true);
  assertEquals(readEnclaves("[]"), []);
  for (const text of ["{}", "", "[{}]"]) assertThrows(() => readEnclaves(text), Error);
});

/** An enclave's log, as its service answers. */
class FakeLog {
  boot = "one";
  events: { readonly seq: number; readonly event: string }[] = [];
  dropped = 0;
  isAway = false;
  /** Others hold all the waits. */
  isBusy = false;
  readonly written: string[] = [];
  readonly said: string[] = [];
  lost = 0;
  #waiting: (() => void)[] = [];
  readonly time = new FakeTime();

  readonly ports: FollowPorts = {
    connect: () =>
      this.isAway ? Promise.reject(new Error("away")) : Promise.resolve<LogSource>({
        exchange: (request) => this.#answer(request),
        [Symbol.dispose]: () => this.wake(),
      }),
    write: ({ event, seq }, boot) => void this.written.push(`${boot} ${seq} ${event}`),
    log: (_, event, fields) => void this.said.push(`${event} ${fields?.["missing"] ?? ""}`.trim()),
    onLost: () => this.lost++,
    after: this.time.after,
  };

  async #answer({ after, boot_id: boot, wait_ms: wait, limit }: WireObject): Promise<WireObject> {
    const from = boot === undefined || boot === this.boot ? Number(after) : 0;
    const found = () => this.events.filter(({ seq }) => seq > from);
    if (wait !== undefined && this.isBusy) return { status: "error", msg: "busy", details: "2 wait" };
    if (wait !== undefined && found().length === 0) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.isAway) throw new Error("the connection ended");
    const { dropped } = this;
    this.dropped = 0;
    return { status: "ok", boot_id: this.boot, dropped, events: found().slice(0, Number(limit)) };
  }

  wake(): void {
    for (const end of this.#waiting.splice(0)) end();
  }

  put(event: string): void {
    this.events.push({ seq: this.events.length + 1, event });
    this.wake();
  }
}

Deno.test("every event is written once, in order; a gap is told; after another boot all of its events are", async () => {
  const log = new FakeLog();
  log.put("listening");
  const follower = followLogs(log.ports);
  await log.time.pass(0);
  log.put("configured");
  await log.time.pass(0);
  log.dropped = 7;
  log.put("signal");
  await log.time.pass(0);
  assertEquals(log.written, ["one 1 listening", "one 2 configured", "one 3 signal"]);
  assertEquals(log.said, ["log_gap 7"]);
  [log.boot, log.events] = ["two", []];
  log.put("listening");
  await log.time.pass(0);
  assertEquals([log.written.at(-1), log.said.at(-1)], ["two 1 listening", "another_boot"]);
  await follower.stop();
  assertMatch(follower.last() ?? "", /^listening at /);
});

Deno.test("a lost connection is told once, and following goes on where it was", async () => {
  const log = new FakeLog();
  log.put("listening");
  const follower = followLogs(log.ports);
  await log.time.pass(0);
  log.isAway = true;
  log.wake();
  await log.time.pass(10_000);
  assertEquals([log.lost, log.said], [1, ["logs_lost"]]);
  log.isAway = false;
  log.put("configured");
  await log.time.pass(1_000);
  assertEquals(log.written, ["one 1 listening", "one 2 configured"]);
  await follower.stop();
});

Deno.test("while others hold all the waits for events, every event is still written within seconds", async () => {
  const log = new FakeLog();
  log.isBusy = true;
  const follower = followLogs(log.ports);
  for (const event of ["listening", "configured", "account_generated"]) {
    log.put(event);
    await log.time.pass(2_000);
    assertEquals(log.written.at(-1), `one ${log.events.length} ${event}`);
  }
  assertEquals([log.lost, log.said], [0, []]);
  await follower.stop();
});

Deno.test("the last events are taken before the end", async () => {
  const log = new FakeLog();
  const follower = followLogs(log.ports);
  await log.time.pass(0);
  for (let event = 0; event < 700; event++) log.events.push({ seq: event + 1, event: "request" });
  await follower.stop();
  assertEquals(log.written.length, 700);
});

Deno.test("an enclave whose log cannot be followed is said to be one, and asked no more", async () => {
  let asked = 0;
  const log = new FakeLog();
  const exchange = () => Promise.resolve({ status: "ok", events: [], count: asked++ });
  const follower = followLogs({
    ...log.ports,
    connect: () => Promise.resolve({ exchange, [Symbol.dispose]() {} }),
  });
  await log.time.pass(100_000);
  await follower.stop();
  assertEquals([asked, log.said], [1, ["logs_not_followed"]]);
});

const PROXY = { port: 8_000, remote: "kms.us-east-1.amazonaws.com", workers: 20, config: "/allow.yaml" };

function fakeProxy(more: Partial<ProxyPorts> = {}) {
  const time = new FakeTime();
  const started: string[] = [];
  let end: (code: number) => void = () => {};
  const keeper = new ProxyKeeper(PROXY, {
    isThere: () => Promise.resolve(false),
    spawn: (args) => {
      started.push(args.join(" "));
      const { promise, resolve } = Promise.withResolvers<{ code: number; last: string }>();
      end = (code) => resolve({ code, last: "" });
      return { ended: promise, kill: () => end(143) };
    },
    log: () => {},
    after: time.after,
    now: time.now,
    changed: () => {},
    ...more,
  });
  return { keeper, time, started, end: () => end(1) };
}

Deno.test("a vsock-proxy that ends is started again, after pauses up to 10 s", async () => {
  const { keeper, time, started, end } = fakeProxy();
  await time.pass(0);
  assertEquals(started, ["--num_workers 20 --config /allow.yaml 8000 kms.us-east-1.amazonaws.com 443"]);
  for (let round = 0; round < 20; round++) {
    end();
    await time.pass(10_000);
  }
  assertEquals([started.length, keeper.state], [21, { running: true, restarts: 20 }]);
  end();
  await time.pass(9_900);
  assertEquals(started.length, 21);
  await keeper.stop();
  assertEquals(keeper.state.running, false);
});

Deno.test("a vsock-proxy that is left from an earlier up is used until it ends", async () => {
  let isThere = true;
  const { keeper, time, started } = fakeProxy({ isThere: () => Promise.resolve(isThere) });
  await time.pass(60_000);
  assertEquals([started, keeper.state.running], [[], true]);
  isThere = false;
  await time.pass(5_000);
  assertEquals([started.length, keeper.state.running], [1, true]);
  await keeper.stop();
});

Deno.test("a vsock-proxy that cannot be started is tried again", async () => {
  let tried = 0;
  const { keeper, time } = fakeProxy({
    spawn: () => {
      tried++;
      throw new Deno.errors.NotFound("vsock-proxy");
    },
  });
  await time.pass(60_000);
  assert(tried > 5 && tried < 20, `${tried}`);
  await keeper.stop();
});

Deno.test("systemd is told in order, and not at all where it is not there", async () => {
  const told: string[] = [];
  const run = (program: string, args: readonly string[]) => {
    told.push(`${program} ${args.join(" ")}`);
    return Promise.resolve({ code: 0, stdout: "", stderr: "" });
  };
  const log = () => {};
  await systemdNotifier({ socket: undefined, log, run })("READY=1");
  assertEquals(told, []);
  const notify = systemdNotifier({ socket: "/run/notify", log, run });
  void notify("STATUS=starting");
  await notify("READY=1");
  assertEquals(told, ["systemd-notify STATUS=starting", "systemd-notify READY=1"]);
});

Deno.test("a full disk loses lines of the log, says later how many, and stops nothing", () => {
  const written: string[] = [];
  let isFull = false;
  const { log } = jsonLog((line) => {
    if (isFull) throw new Error("No space left on device (os error 28)");
    written.push(line);
  }, () => new Date(0));
  log("info", "one");
  isFull = true;
  for (let line = 0; line < 3; line++) log("info", "lost");
  isFull = false;
  log("info", "two");
  log("info", "three");
  const events = written.map((line) => JSON.parse(line));
  assertEquals(events.map(({ event }) => event), ["one", "log_lines_lost", "two", "three"]);
  assertEquals(events[1].lines, 3);
});

const enclave = (phase: EnclaveState["phase"]): EnclaveState => ({
  name: "main",
  phase,
  reason: "why",
  since: 0,
  restarts: {},
});

Deno.test("healthz is 200 only while every enclave serves; livez always; nothing can be changed", async () => {
  let state: UpState = { startedAt: 0, enclaves: [enclave("serving"), enclave("waiting")] };
  await using server = await serveStatus({ transport: "tcp", hostname: "127.0.0.1", port: 0 }, {
    state: () => state,
    prometheusText: () => Promise.resolve("metrics\n"),
  });
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(`http://${server.address}${path}`, init);
    return [response.status, await response.text()] as const;
  };
  assertEquals(await get("/healthz"), [503, "main: serving: why\nmain: waiting: why\n"]);
  assertEquals(await get("/livez"), [200, "up runs\n"]);
  assertEquals(await get("/metrics"), [200, "metrics\n"]);
  assertEquals(JSON.parse((await get("/status"))[1]).enclaves.length, 2);
  state = { startedAt: 0, enclaves: [enclave("serving")] };
  assertEquals((await get("/healthz?x=1"))[0], 200);
  assertEquals((await get("/status", { method: "POST" }))[0], 405);
  assertEquals((await get("/etc/passwd"))[0], 404);
});
