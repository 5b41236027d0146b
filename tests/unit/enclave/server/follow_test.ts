/** `logs` with `after` and `wait_ms`: what is missed is counted, and a request that waits holds nothing up. */
import { assertEquals } from "@std/assert";
import { Client } from "../../../../lib/ctl/client/client.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import type { LogLevel } from "../../../../lib/shared/log.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { until, within } from "../../../helpers/deadline.ts";
import { MemoryAcceptor, type Peer } from "../../../helpers/duplex.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { startTestService } from "../../../helpers/test_service.ts";

const WAIT = { type: "logs", wait_ms: 120_000 } as const;

function setup({ level = "info", requestMs = DEFAULT_LIMITS.requestMs, keep = 500 }: {
  readonly level?: LogLevel;
  readonly requestMs?: number;
  readonly keep?: number;
} = {}) {
  const acceptor = new MemoryAcceptor();
  // A second for each line: the rate limit has tests of its own.
  let now = 0;
  const events = new EventLog({ write: () => {}, level, keep, now: () => new Date(now += 1_000) });
  const service = startTestService({
    kms: new FakeKms(() => Promise.reject(new Error("not asked"))),
    acceptor,
    events,
    limits: { ...DEFAULT_LIMITS, requestMs },
  });
  const ask = async (request: WireObject, peer: Peer = acceptor.connect()) => {
    peer.send(request);
    return await peer.receive() ?? {};
  };
  /** The number of the last event. */
  const last = async () => {
    const { events } = await ask({ type: "logs", limit: 1 });
    return Number((events as WireObject[])[0]?.["seq"] ?? 0);
  };
  /** A client that waits for an event after this one. */
  const wait = async (after: number, peer: Peer = acceptor.connect()) => {
    peer.send({ ...WAIT, after });
    await peer.allRead();
    return peer;
  };
  return {
    acceptor,
    events,
    service,
    ask,
    last,
    wait,
    [Symbol.asyncDispose]: () => service.stop(0),
  };
}

const names = (reply: WireObject | undefined) =>
  (reply?.["events"] as WireObject[] | undefined)?.map(({ event }) => event);

Deno.test("events have numbers, and after gives those above one, the oldest first", async () => {
  await using rig = setup();
  const before = await rig.last();
  for (const name of ["a", "b", "c"]) rig.events.log("info", name);
  const { events, dropped, boot_id } = await rig.ask({ type: "logs", after: before, limit: 2 });
  const numbered = (events as WireObject[]).map(({ event, seq }) => [event, seq]);
  assertEquals(numbered, [["a", before + 1], ["b", before + 2]]);
  assertEquals([dropped, names(await rig.ask({ type: "logs", after: before + 2, boot_id }))], [0, ["c"]]);
  assertEquals((await rig.ask({ type: "logs", after: before + 3 }))["events"], []);
});

Deno.test("the log of another run is given from its beginning", async () => {
  await using rig = setup();
  rig.events.log("info", "first");
  const { boot_id, events } = await rig.ask({ type: "logs", after: 1_000, boot_id: "of the run before" });
  assertEquals(names({ events })?.includes("first"), true);
  assertEquals(boot_id, (await rig.ask({ type: "health" }))["boot_id"]);
});

Deno.test("what the ring has lost is counted, but for events about keys and refusals, which are given", async () => {
  await using rig = setup({ keep: 10 });
  const before = await rig.last();
  rig.events.log("info", "configured", { epoch: 1 });
  rig.events.log("warn", "request_failed", { type: "sign", code: "guard_refused" });
  for (let n = 0; n < 100; n++) rig.events.log("info", "flood");
  const { events, dropped } = await rig.ask({ type: "logs", after: before });
  assertEquals(names({ events }), ["configured", "request_failed", ...Array(10).fill("flood")]);
  assertEquals(dropped, 90);
  const rest = await rig.ask({ type: "logs", after: before + 1, limit: 1 });
  assertEquals([names(rest), rest["dropped"]], [["request_failed"], 0]);
});

Deno.test("a wait ends with the next event, and gives it", async () => {
  await using rig = setup();
  const peer = await rig.wait(await rig.last());
  rig.events.log("info", "news");
  assertEquals(names(await peer.receive()), ["news"]);
});

Deno.test("an event that is there already is not waited for", async () => {
  await using rig = setup();
  const before = await rig.last();
  rig.events.log("info", "news");
  assertEquals(names(await rig.ask({ ...WAIT, after: before })), ["news"]);
});

Deno.test("a wait without an event ends after its time", async () => {
  await using rig = setup();
  const reply = await rig.ask({ type: "logs", after: await rig.last(), wait_ms: 20 });
  assertEquals([reply["status"], reply["events"]], ["ok", []]);
});

Deno.test("a wait ends before the time limit of a request", async () => {
  await using rig = setup({ requestMs: 200 });
  const reply = await rig.ask({ ...WAIT, after: await rig.last() });
  assertEquals([reply["status"], reply["events"]], ["ok", []]);
});

Deno.test("a wait takes half a minute at most", async () => {
  const real = globalThis.setTimeout;
  const delays: unknown[] = [];
  await using rig = setup({ requestMs: 600_000 });
  const before = await rig.last();
  const recording = (callback: () => void, ms?: number) => (delays.push(ms), real(callback, ms));
  globalThis.setTimeout = recording as typeof setTimeout;
  try {
    await rig.wait(before).then((peer) => peer.end());
  } finally {
    globalThis.setTimeout = real;
  }
  assertEquals([delays.includes(30_000), delays.some((ms) => Number(ms) > 30_000)], [true, false]);
});

Deno.test("two may wait; a third is refused busy, and served once one of them has its event", async () => {
  await using rig = setup();
  const before = await rig.last();
  const waiting = [await rig.wait(before), await rig.wait(before)];
  const refused = await rig.ask({ ...WAIT, after: before });
  assertEquals([refused["msg"], String(refused["details"]).includes("wait_ms")], ["busy", true]);
  // The refusal is an event itself.
  for (const peer of waiting) assertEquals(names(await peer.receive()), ["request_failed"]);
  const third = await rig.wait(await rig.last());
  rig.events.log("info", "news");
  assertEquals(names(await third.receive()), ["news"]);
});

for (
  const [what, leave] of [
    ["ends its stream", (peer: Peer) => peer.end()],
    ["disconnects", (peer: Peer) => peer.vanish()],
  ] as const
) {
  Deno.test(`a waiting client that ${what} frees its place`, async () => {
    await using rig = setup();
    const before = await rig.last();
    const first = await rig.wait(before);
    await rig.wait(before);
    leave(first);
    await first.receiveAll().catch(() => {});
    await first.closedByService();
    const peer = await rig.wait(before);
    rig.events.log("info", "news");
    assertEquals(names(await peer.receive()), ["news"]);
  });
}

Deno.test("over TCP, a waiting client that disconnects frees its place while another waits on", async () => {
  // At this level only the first refusal is an event, which ends the waits.
  const events = new EventLog({ write: () => {}, level: "error" });
  const kms = new FakeKms(() => Promise.reject(new Error("not asked")));
  await using service = startTestService({ kms, events });
  const request = { ...WAIT, after: Number.MAX_SAFE_INTEGER };
  const clients = await Promise.all([1, 2, 3].map(() => Client.connect(service.address)));
  const [first, second, third] = clients as [Client, Client, Client];
  using _clients = new DisposableStack();
  for (const client of clients) _clients.use(client);
  const isFree = async () => (await third.exchange({ ...request, wait_ms: 1 }))["status"] === "ok";
  const wait = async () => {
    const waits = [first, second].map((client) => client.exchange(request).catch(() => undefined));
    // When both answers are there, both requests before them have been read.
    for (let turn = 0; turn < 2; turn++) await third.exchange({ type: "ping" });
    assertEquals(await isFree(), false);
    return waits;
  };
  await Promise.all(await wait());
  const [left, waiting] = await wait();
  let hasEnded = false;
  void waiting?.then(() => hasEnded = true);
  first[Symbol.dispose]();
  await left;
  await until("a free place", isFree);
  assertEquals(hasEnded, false);
  events.log("error", "news");
  assertEquals((await waiting)?.["status"], "ok");
});

Deno.test("a client that ended its stream after its request still gets the reply", async () => {
  await using rig = setup();
  const peer = rig.acceptor.connect();
  peer.send({ ...WAIT, after: await rig.last() });
  peer.end();
  assertEquals((await peer.receive())?.["events"], []);
});

for (const framing of ["u64le", "u32be", "raw"] as const) {
  Deno.test(`${framing}: a request behind one that waits ends the wait, and is answered whole`, async () => {
    await using rig = setup();
    const peer = rig.acceptor.connect(framing);
    await rig.wait(await rig.last(), peer);
    peer.send({ type: "ping", padding: "x".repeat(20_000) });
    assertEquals(names(await peer.receive()), []);
    assertEquals((await peer.receive())?.["msg"], "pong");
    await rig.wait(await rig.last(), peer);
    rig.events.log("info", "news");
    assertEquals(names(await peer.receive()), ["news"]);
  });
}

Deno.test("a wait holds none of the memory for requests", async () => {
  await using rig = setup();
  const before = await rig.last();
  const other = rig.acceptor.connect();
  const inFlight = async () => (await rig.ask({ type: "health" }, other))["memory_in_flight"];
  const peer = rig.acceptor.connect();
  assertEquals((await rig.ask({ type: "ping" }, peer))["msg"], "pong");
  const idle = await inFlight();
  await rig.wait(before, peer);
  assertEquals(await inFlight(), idle);
});

Deno.test("a service that stops ends the waits at once, and they have its last words", async () => {
  for (const [level, words] of [["info", ["draining"]], ["error", []]] as const) {
    const rig = setup({ level });
    const peer = await rig.wait(await rig.last());
    const stopped = rig.service.stop(60_000);
    assertEquals(names(await peer.receive()), [...words]);
    await within(stopped, "the end of the service");
  }
});

Deno.test("at the level debug a follower does not wake itself", async () => {
  await using rig = setup({ level: "debug" });
  const before = await rig.last();
  const peer = await rig.wait(before);
  rig.events.log("info", "news");
  assertEquals(names(await peer.receive()), ["news"]);
  await rig.wait(before + 1, peer);
  rig.events.log("info", "more");
  assertEquals(names(await peer.receive()), ["more"]);
});

Deno.test("security goes without after", async () => {
  await using rig = setup();
  assertEquals((await rig.ask({ type: "logs", after: 0, security: true }))["msg"], "missing_fields");
});

Deno.test("a workflow's own field does not number an event", async () => {
  await using rig = setup();
  const before = await rig.last();
  rig.events.log("info", "workflow", { seq: 7 });
  assertEquals(await rig.last(), before + 1);
});
