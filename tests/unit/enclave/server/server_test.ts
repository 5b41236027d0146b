/** The server: how many connections it serves, which it refuses, how it ends. Connections are in memory; the sweep's timer is real and short. */
import { assertEquals } from "@std/assert";
import type { Handler } from "../../../../lib/enclave/server/dispatch.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import { createMemory } from "../../../../lib/enclave/server/memory_budget.ts";
import { type Limits } from "../../../../lib/shared/cli/limits.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import { Metrics } from "../../../../lib/enclave/server/metrics.ts";
import { Server } from "../../../../lib/enclave/server/server.ts";
import { createTurnEnd } from "../../../../lib/enclave/server/turn.ts";
import type { Framing } from "../../../../lib/shared/wire/framing.ts";
import { until, within } from "../../../helpers/deadline.ts";
import { MemoryAcceptor, type Peer } from "../../../helpers/duplex.ts";

interface Setup {
  readonly server: Server;
  readonly acceptor: MemoryAcceptor;
  readonly events: EventLog;
}

const echo: Handler = (request) => ({ type: "echo", reply: { status: "ok", n: request["n"] } });

/** Runs with a server, and ends it. */
async function withServer(
  { handler = echo, limits = {} }: { readonly handler?: Handler; readonly limits?: Partial<Limits> },
  run: (setup: Setup) => Promise<void>,
): Promise<void> {
  const acceptor = new MemoryAcceptor();
  const events = new EventLog({ write: () => {}, level: "debug" });
  const server = new Server(acceptor, {
    handler,
    limits: { ...DEFAULT_LIMITS, ...limits },
    memory: createMemory(DEFAULT_LIMITS.maxInFlight),
    transport: "tcp",
    log: events.log,
    metrics: new Metrics(),
    now: () => performance.now(),
    turnEnd: createTurnEnd(),
  });
  try {
    await run({ server, acceptor, events });
  } finally {
    await within(server.drain(0), "the end of the server");
  }
}

async function ask(peer: Peer, n: number): Promise<unknown> {
  peer.send({ n });
  return (await peer.receive())?.["n"];
}

const FRAMINGS: readonly Framing[] = ["u64le", "u32be", "raw"];

Deno.test("one connection beyond the limit is answered busy, in each framing, and the others are served on", () =>
  withServer({ limits: { maxConnections: 2 } }, async ({ acceptor, server, events }) => {
    const [first, second] = [acceptor.connect(), acceptor.connect()];
    assertEquals([await ask(first, 1), await ask(second, 2)], [1, 2]);
    for (const framing of FRAMINGS) {
      const refused = acceptor.connect(framing);
      refused.send({ type: "ping" });
      assertEquals((await refused.receive())?.["msg"], "busy");
      refused.vanish();
    }
    assertEquals([await ask(first, 3), await ask(second, 4)], [3, 4]);
    assertEquals(server.stats, { connections: 2, accepted: 5, refused: 3 });
    assertEquals(events.recent(100).filter(({ event }) => event === "connection_refused").length, 3);
  }));

Deno.test("refusals are bounded too: beyond 256 at a time a connection is closed without a reply", () =>
  withServer({ limits: { maxConnections: 1 } }, async ({ acceptor }) => {
    const served = acceptor.connect();
    assertEquals(await ask(served, 1), 1);
    const refused = Array.from({ length: 256 }, () => acceptor.connect());
    for (const peer of refused) await peer.allRead();
    assertEquals(await acceptor.connect().receiveAll(), []);
    refused[0]?.send({ type: "ping" });
    assertEquals((await refused[0]?.receive())?.["msg"], "busy");
  }));

Deno.test("silent connections are closed, and unfinished requests answered timeout, without any further request", () =>
  withServer({ limits: { idleMs: 40 } }, async ({ acceptor, server }) => {
    const silent = acceptor.connect();
    const unfinished = acceptor.connect();
    unfinished.send(new Uint8Array([0, 0, 0, 50, 0x7b, 0x22]));
    assertEquals(await silent.receiveAll(), []);
    assertEquals((await unfinished.receiveAll()).map((reply) => reply["msg"]), ["timeout"]);
    await until("an empty server", () => server.stats.connections === 0);
  }));

Deno.test("an accept that fails is logged and tried again", () =>
  withServer({}, async ({ acceptor, events }) => {
    acceptor.fail(new Error("no descriptors"));
    assertEquals(await ask(acceptor.connect(), 5), 5);
    assertEquals(
      events.recent(9).filter(({ event }) => event === "accept_failed")[0]?.["reason"],
      "no descriptors",
    );
  }));

Deno.test("a drain lets the request under way end, closes idle connections, and accepts no new ones", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const handler: Handler = async (request) => {
    begun.resolve();
    await gate.promise;
    return echo(request);
  };
  await withServer({ handler }, async ({ acceptor, server }) => {
    const [busy, silent] = [acceptor.connect(), acceptor.connect()];
    busy.send({ n: 1 });
    await within(begun.promise, "the request");
    let drained = false;
    const draining = server.drain(5_000).then(() => drained = true);
    assertEquals(await silent.receiveAll(), []);
    assertEquals([acceptor.closed, drained], [true, false]);
    gate.resolve();
    assertEquals((await busy.receiveAll()).map((reply) => reply["n"]), [1]);
    await within(draining, "the drain");
    assertEquals(server.stats.connections, 0);
  });
});

Deno.test("requests of one turn are worked on before the first reply leaves", async () => {
  let handled = 0;
  const handledAtReply: number[] = [];
  const handler: Handler = (request) => {
    handled++;
    return echo(request);
  };
  await withServer({ handler }, async ({ acceptor }) => {
    const peers = Array.from({ length: 8 }, () => acceptor.connect());
    for (const peer of peers) await peer.allRead();
    for (const peer of peers) peer.send({ n: 1 });
    await Promise.all(peers.map(async (peer) => {
      await peer.receive();
      handledAtReply.push(handled);
    }));
    assertEquals(handledAtReply, peers.map(() => 8));
  });
});

Deno.test("a drain ends in its time though a handler never does", async () => {
  const begun = Promise.withResolvers<void>();
  const handler: Handler = () => (begun.resolve(), new Promise(() => {}));
  await withServer({ handler }, async ({ acceptor, server }) => {
    acceptor.connect().send({ n: 1 });
    await within(begun.promise, "the request");
    await within(server.drain(20), "the end of the drain", 1_000);
  });
});

Deno.test("a handler that never ends loses its connection's place at the request's deadline", async () => {
  const handler: Handler = (request) => request["stuck"] === true ? new Promise(() => {}) : echo(request);
  await withServer(
    { handler, limits: { maxConnections: 1, requestMs: 40 } },
    async ({ acceptor, server }) => {
      const stuck = acceptor.connect();
      stuck.send({ stuck: true });
      assertEquals((await within(stuck.receive(), "the timeout"))?.["msg"], "timeout");
      await within(stuck.closedByService(), "the close");
      await until("an empty server", () => server.stats.connections === 0);
      const next = acceptor.connect();
      assertEquals(await ask(next, 7), 7);
      next.end();
    },
  );
});
