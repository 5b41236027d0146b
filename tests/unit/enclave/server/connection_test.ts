/** One connection, over memory and under a clock that the test moves: nothing here waits for time to pass. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Handler } from "../../../../lib/enclave/server/dispatch.ts";
import { Connection } from "../../../../lib/enclave/server/connection.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import type { Limits } from "../../../../lib/shared/cli/limits.ts";
import { createMemory } from "../../../../lib/enclave/server/memory_budget.ts";
import { Metrics } from "../../../../lib/enclave/server/metrics.ts";
import { NEVER } from "../../../../lib/enclave/server/waiting.ts";
import { encodeMessage, type Framing } from "../../../../lib/shared/wire/framing.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { within } from "../../../helpers/deadline.ts";
import { Peer } from "../../../helpers/duplex.ts";

const LIMITS: Limits = {
  maxMessage: 10_000,
  maxConnections: 4,
  idleMs: 1_000,
  requestMs: 5_000,
  maxInFlight: 2 ** 20,
};
const FRAMINGS: readonly Framing[] = ["u64le", "u32be", "raw"];
const encoder = new TextEncoder();

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

/** Returns the request's `n`. */
const echo: Handler = (request) => ({ type: "echo", reply: { status: "ok", n: request["n"] } });

interface Setup {
  readonly connection: Connection;
  readonly peer: Peer;
  readonly metrics: Metrics;
  readonly events: EventLog;
  /** Requests that the handler was asked. */
  readonly asked: WireObject[];
  /** Ends when the connection does; rejects if `serve` does. */
  readonly served: () => Promise<void>;
  /** Moves the clock on, and sweeps. */
  readonly pass: (ms: number) => void;
}

function setup(
  { handler = echo, framing, refuse = false, limits = LIMITS }: {
    readonly handler?: Handler;
    readonly framing?: Framing;
    readonly refuse?: boolean;
    readonly limits?: Limits;
  } = {},
): Setup {
  const peer = new Peer(framing);
  const metrics = new Metrics();
  const events = new EventLog({ write: () => {}, level: "debug" });
  const asked: WireObject[] = [];
  let now = 0;
  const connection = new Connection(1, peer.stream, {
    handler: (request, ...more) => {
      asked.push(request);
      return handler(request, ...more);
    },
    limits,
    memory: createMemory(limits.maxInFlight),
    transport: "tcp",
    log: events.log,
    metrics,
    now: () => now,
    turnEnd: () => Promise.resolve(),
  });
  const serving = refuse ? connection.refuse() : connection.serve();
  return {
    connection,
    peer,
    metrics,
    events,
    asked,
    served: () => within(serving, "the end of the connection's service"),
    pass: (ms) => connection.sweep(now += ms),
  };
}

for (const framing of FRAMINGS) {
  Deno.test(`${framing}: requests sent in one go are answered one after the other, in order`, async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const order: string[] = [];
    const { peer, served } = setup({
      framing,
      handler: async (request) => {
        order.push(`begin ${request["n"]}`);
        await gates[Number(request["n"])]?.promise;
        order.push(`end ${request["n"]}`);
        return echo(request);
      },
    });
    // The second could be answered first.
    gates[1]?.resolve();
    peer.send(
      new Uint8Array([...encodeMessage(framing, { n: 0 }), ...encodeMessage(framing, { n: 1 })]),
    );
    gates[0]?.resolve();
    assertEquals([await peer.receive(), await peer.receive()], [{ status: "ok", n: 0 }, {
      status: "ok",
      n: 1,
    }]);
    assertEquals(order, ["begin 0", "end 0", "begin 1", "end 1"]);
    peer.end();
    await served();
  });

  Deno.test(`${framing}: a request of which half has arrived is answered timeout after the idle time`, async () => {
    const { peer, served, pass, asked, metrics } = setup({ framing });
    const message = encodeMessage(framing, { n: 1, text: "some more text" });
    peer.send(message.subarray(0, 15));
    await peer.allRead();
    pass(LIMITS.idleMs - 1);
    pass(1);
    const reply = await peer.receive();
    assertEquals(reply?.["msg"], "timeout");
    assertStringIncludes(String(reply?.["details"]), "did not arrive");
    await peer.closedByService();
    await served();
    assertEquals([asked, metrics.snapshot()["incomplete"]?.error], [[], 1]);
  });
}

/** What is not a JSON object although its brackets balance; a character is a byte. */
const BROKEN = ["{'a': 1}", '{"a":[1}]', "{]", '{"a":1 "b":2}', '{"a":"\xff"}', "{]{]{]"];

/** A message of these bytes. */
function framed(framing: Framing, body: string): Uint8Array {
  // The message of a text that is as long, with the body in the text's place.
  const message = encodeMessage(framing, "x".repeat(body.length - 2));
  const end = message.length - (framing === "raw" ? 1 : 0);
  message.set(Uint8Array.from(body, (character) => character.charCodeAt(0)), end - body.length);
  return message;
}

for (const body of BROKEN) {
  Deno.test(`raw: ${JSON.stringify(body)} is answered invalid_json, and what follows is thrown away`, async () => {
    const { peer, served, asked, metrics } = setup({ framing: "raw" });
    peer.send(new Uint8Array([...framed("raw", body), ...encodeMessage("raw", { n: 1 })]));
    assertEquals((await peer.receive())?.["msg"], "invalid_json");
    peer.send({ n: 2 });
    await peer.allRead();
    peer.end();
    assertEquals([await peer.receive(), asked, metrics.snapshot()["broken"]?.error], [undefined, [], 1]);
    await served();
  });
}

for (const framing of ["u64le", "u32be"] as const) {
  for (const body of [...BROKEN, "[1,2,3]", "{}}", "GET / HTTP/1.1"]) {
    Deno.test(`${framing}: ${JSON.stringify(body)} is answered invalid_json, and the next message served`, async () => {
      const { peer, served } = setup({ framing });
      peer.send(framed(framing, body));
      peer.send({ n: 2 });
      assertEquals([(await peer.receive())?.["msg"], (await peer.receive())?.["n"]], ["invalid_json", 2]);
      peer.end();
      await served();
    });
  }

  Deno.test(`${framing}: a message that is too large is answered so while it arrives, and the next one served`, async () => {
    const { peer, served, asked } = setup({ framing });
    const large = encodeMessage(framing, { text: "x".repeat(LIMITS.maxMessage) });
    peer.send(large.subarray(0, 5_000));
    assertEquals((await peer.receive())?.["msg"], "message_too_large");
    peer.send(large.subarray(5_000));
    peer.send({ n: 3 });
    assertEquals((await peer.receive())?.["n"], 3);
    assertEquals(asked.length, 1);
    peer.end();
    await served();
  });
}

Deno.test("raw: a message that is too large is answered so; what follows is read and thrown away until the client is done", async () => {
  const { peer, served, asked } = setup({ framing: "raw" });
  peer.send({ text: "x".repeat(LIMITS.maxMessage) });
  assertEquals((await peer.receive())?.["msg"], "message_too_large");
  peer.send({ n: 1 });
  await peer.allRead();
  peer.end();
  assertEquals([await peer.receive(), asked], [undefined, []]);
  await served();
});

Deno.test("a client that goes on sending after its connection was given up is closed in two seconds", async () => {
  const { peer, served, pass } = setup({ framing: "raw" });
  peer.send({ text: "x".repeat(LIMITS.maxMessage) });
  await peer.receive();
  await peer.allRead();
  pass(1_999);
  peer.send(new Uint8Array(100));
  await peer.allRead();
  pass(1);
  await peer.closedByService();
  await served();
});

Deno.test("a silent connection is closed after the idle time without a reply, and not before", async () => {
  const { peer, served, pass } = setup();
  await peer.allRead();
  pass(LIMITS.idleMs - 1);
  peer.send({ n: 1 });
  assertEquals((await peer.receive())?.["n"], 1);
  await peer.allRead();
  pass(LIMITS.idleMs - 1);
  await peer.allRead();
  pass(1);
  assertEquals(await peer.receiveAll(), []);
  await served();
});

Deno.test("a client that trickles a byte at a time is answered timeout when the request's time is over", async () => {
  const { peer, served, pass } = setup();
  const message = encodeMessage("u32be", { n: 1, text: "enough to go on with" });
  peer.send(message.subarray(0, 10));
  await peer.allRead();
  for (let passed = 0, at = 10; passed < LIMITS.requestMs; passed += 500, at++) {
    pass(500);
    peer.send(message.subarray(at, at + 1));
    if (passed + 500 < LIMITS.requestMs) await peer.allRead();
  }
  assertEquals((await peer.receiveAll()).map((reply) => reply["msg"]), ["timeout"]);
  await served();
});

Deno.test("what a request began is told to stop at its deadline, before the client is told so", async () => {
  const told = Promise.withResolvers<AbortSignal>();
  const { peer, pass } = setup({
    handler: (_, signal = NEVER) => (told.resolve(signal), new Promise(() => {})),
  });
  peer.send({ n: 1 });
  const signal = await within(told.promise, "the handler");
  pass(LIMITS.requestMs - 1);
  assertEquals(signal.aborted, false);
  pass(1);
  // The reply is written in a later turn: an action that ends between the two must not take effect.
  assertEquals(signal.aborted, true);
  assertEquals((await peer.receive())?.["msg"], "timeout");
});

for (const how of ["ends its stream", "vanishes"] as const) {
  Deno.test(`a client that ${how} within a large message leaves no buffer to the garbage collector`, async () => {
    const { peer, served } = setup({ limits: { ...LIMITS, maxMessage: 2 ** 20, maxInFlight: 2 ** 25 } });
    let last: Uint8Array = new Uint8Array(0);
    const read = peer.stream.read.bind(peer.stream);
    Object.assign(peer.stream, { read: (into: Uint8Array) => read(last = into) });
    peer.send(encodeMessage("u32be", { text: "x".repeat(1_000_000) }).subarray(0, -1));
    await peer.allRead();
    assert(last.buffer.byteLength > 1_000_000);
    if (how === "vanishes") peer.vanish();
    else peer.end();
    await served();
    assertEquals(last.buffer.byteLength, 0);
  });
}

Deno.test("what a request began is told to stop when its client vanishes", async () => {
  const told = Promise.withResolvers<AbortSignal>();
  const { connection, peer } = setup({
    handler: (_, signal = NEVER) => (told.resolve(signal), new Promise(() => {})),
  });
  peer.send({ n: 1 });
  const signal = await within(told.promise, "the handler");
  connection.close();
  assertEquals(signal.aborted, true);
});

for (const framing of FRAMINGS) {
  Deno.test(`${framing}: a client that ends in the middle of a request ends the connection, and the handler is not asked`, async () => {
    const { peer, served, asked } = setup({ framing });
    peer.send(encodeMessage(framing, { n: 1, text: "some more text" }).subarray(0, 15));
    await peer.allRead();
    peer.end();
    const codes = (await peer.receiveAll()).map((reply) => reply["msg"]);
    await served();
    // In the raw framing the end is what tells that it was no document.
    assertEquals([codes, asked], [framing === "raw" ? ["invalid_json"] : [], []]);
  });

  Deno.test(`${framing}: a client that vanishes, in the middle of a request or of an answer, ends the connection`, async () => {
    for (const at of [0, 3, 15]) {
      const { peer, served, asked, events } = setup({ framing });
      peer.send(encodeMessage(framing, { n: 1, text: "some more text" }).subarray(0, at));
      await peer.allRead();
      peer.vanish();
      await served();
      assertEquals([asked, events.recent(1)[0]?.event], [[], "connection_lost"]);
    }
    const answering = setup({ framing });
    answering.peer.send({ n: 1 });
    await turns();
    answering.peer.vanish();
    await answering.served();
    assertEquals(answering.asked.length, 1);
  });
}

Deno.test("a document too short to tell its framing is answered after a moment, and the connection ends", async () => {
  const { peer, served } = setup({ framing: "raw" });
  peer.send(encoder.encode("{}"));
  assertEquals((await peer.receiveAll()).map((reply) => reply["status"]), ["ok"]);
  await served();
});

Deno.test("the connection of a refused client that sends nothing is closed in two seconds", async () => {
  const { peer, served, pass } = setup({ refuse: true });
  await peer.allRead();
  pass(1_999);
  await peer.allRead();
  pass(1);
  assertEquals(await peer.receiveAll(), []);
  await served();
});

/** Lets all that is ready run: some turns of the event loop, no time. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("after a request's timeout reply, a pipelined one does not spoil it, and is not worked on", async () => {
  const gate = Promise.withResolvers<void>();
  const { peer, asked, pass, served } = setup({
    framing: "u32be",
    handler: async (request) => {
      if (request["n"] === 1) await gate.promise;
      return echo(request);
    },
  });
  peer.send(new Uint8Array([1, 2].flatMap((n) => [...encodeMessage("u32be", { n })])));
  await turn();
  pass(LIMITS.requestMs);
  gate.resolve();
  await turn();
  const replies = await peer.receiveAll();
  await served();
  assertEquals([replies.map((reply) => reply["msg"]), asked], [["timeout"], [{ n: 1 }]]);
});

Deno.test("the rest of a request that was answered timeout is not worked on, and does not spoil that reply", async () => {
  const { peer, asked, pass, served } = setup({ framing: "u32be" });
  const message = encodeMessage("u32be", { n: 1, text: "some more text" });
  peer.send(message.subarray(0, 15));
  await peer.allRead();
  pass(LIMITS.idleMs);
  // The client does not read yet, and sends the rest.
  peer.send(message.subarray(15));
  await turn();
  const replies = await peer.receiveAll();
  await served();
  assertEquals([replies.map((reply) => reply["msg"]), asked], [["timeout"], []]);
});

Deno.test("a u32be request whose header comes more than a quarter of a second before its body is answered", async () => {
  const { peer, served } = setup({ framing: "u32be" });
  const message = encodeMessage("u32be", { n: 1 });
  peer.send(message.subarray(0, 4));
  await peer.allRead();
  // Not a sleep for its own sake: the 250 ms are a real timer of the connection's.
  await Promise.race([peer.closedByService(), new Promise((resolve) => setTimeout(resolve, 400))]);
  peer.send(message.subarray(4));
  const reply = await peer.receive();
  peer.end();
  await served();
  assertEquals(reply?.["status"], "ok");
});
