/** What a second reading found, after the first was mended: each defect with the test that showed it. */
import { assertEquals } from "@std/assert";
import { Connection } from "../../../lib/service/connection.ts";
import { EventLog } from "../../../lib/service/events.ts";
import { createMemory } from "../../../lib/service/memory_budget.ts";
import { DEFAULT_LIMITS } from "../../../lib/service/limits.ts";
import { Metrics } from "../../../lib/service/metrics.ts";
import { detectFraming, encodeMessage, FrameDecoder } from "../../../lib/wire/framing.ts";
import { within } from "../../helpers/deadline.ts";
import { Server } from "../../../lib/service/server.ts";
import { MemoryAcceptor, Peer } from "../../helpers/duplex.ts";

Deno.test("the rest of a request that was answered timeout is not worked on, and does not spoil that reply", async () => {
  let now = 0;
  const asked: unknown[] = [];
  const peer = new Peer("u32be");
  const connection = new Connection(1, peer.stream, {
    handler: (request) => {
      asked.push(request["n"]);
      return { type: "x", reply: { status: "ok", n: request["n"] } };
    },
    limits: DEFAULT_LIMITS,
    memory: createMemory(DEFAULT_LIMITS.maxInFlight),
    transport: "tcp",
    log: () => {},
    metrics: new Metrics(),
    now: () => now,
    turnEnd: () => Promise.resolve(),
  });
  const serving = connection.serve();
  const message = encodeMessage("u32be", { n: 1, text: "some more text" });
  peer.send(message.subarray(0, 15));
  await peer.allRead();
  connection.sweep(now += DEFAULT_LIMITS.idleMs);
  // The client does not read yet, and sends the rest.
  peer.send(message.subarray(15));
  await new Promise((resolve) => setTimeout(resolve, 0));
  const replies = await peer.receiveAll();
  await within(serving, "the end of the connection");
  assertEquals([replies.map((reply) => reply["msg"]), asked], [["timeout"], []]);
});

const SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
for (
  const [what, before, secret] of [
    ["an AWS secret access key (40 characters)", "secret: ", SECRET_KEY],
    ["hex of a key behind a long run that is cut out", `${"A".repeat(940)} `, "ab".repeat(32)],
  ] as const
) {
  Deno.test(`${what} is not written into the log`, () => {
    const lines: string[] = [];
    const { log } = new EventLog({ write: (line) => lines.push(line), level: "info" });
    log("info", "e", { reason: before + secret });
    assertEquals(lines.join("").includes(secret.slice(0, 20)), false);
  });
}

Deno.test("a u32be length within the largest --max-message is not taken for JSON, also when it has no NUL", () => {
  // 0x0a0b0c0d is 161 MiB, of at most 256.
  assertEquals(detectFraming(new Uint8Array([0x0a, 0x0b, 0x0c, 0x0d, 0x7b])), "u32be");
});

Deno.test("a short first document with a NUL after it is raw", () => {
  const decoder = new FrameDecoder();
  decoder.push(new TextEncoder().encode('{}\0{"type":"ping"}\0'));
  const first = decoder.next();
  assertEquals([decoder.framing, first !== undefined && "body" in first], ["raw", true]);
});

Deno.test("a handler that never ends loses its connection's place at the request's deadline", async () => {
  const acceptor = new MemoryAcceptor();
  const server = new Server(acceptor, {
    handler: (request) =>
      request["stuck"] === true ? new Promise(() => {}) : { type: "x", reply: { status: "ok" } },
    limits: { ...DEFAULT_LIMITS, maxConnections: 1, requestMs: 40 },
    memory: createMemory(2 ** 29),
    transport: "tcp",
    log: () => {},
    metrics: new Metrics(),
    now: () => performance.now(),
    turnEnd: () => Promise.resolve(),
  });
  const stuck = acceptor.connect();
  stuck.send({ stuck: true });
  assertEquals((await within(stuck.receive(), "the timeout"))?.["msg"], "timeout");
  await within(stuck.closedByService(), "the close");
  while (server.stats.connections > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  const next = acceptor.connect();
  next.send({});
  assertEquals((await within(next.receive(), "the next reply"))?.["status"], "ok");
  next.end();
  await server.drain(100);
});
