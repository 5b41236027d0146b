/**
 * A connection that receives any bytes: it answers or closes, and never fails, hangs or passes anything but
 * an object to the handler.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Connection } from "../../../../lib/enclave/server/connection.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import { Metrics } from "../../../../lib/enclave/server/metrics.ts";
import { encodeMessage, type Framing } from "../../../../lib/shared/wire/framing.ts";
import { within } from "../../../helpers/deadline.ts";
import { Peer } from "../../../helpers/duplex.ts";
import { runs } from "../../../helpers/effort.ts";
import { createMemory } from "../../../../lib/enclave/server/memory_budget.ts";

const framings = fc.constantFrom<Framing>("u64le", "u32be", "raw");

function serve(peer: Peer, asked: unknown[]): Promise<void> {
  const connection = new Connection(1, peer.stream, {
    handler: (request) => {
      asked.push(request);
      return { type: "echo", reply: { status: "ok", n: request["n"] } };
    },
    limits: { ...DEFAULT_LIMITS, maxMessage: 1_000 },
    memory: createMemory(DEFAULT_LIMITS.maxInFlight),
    transport: "tcp",
    log: () => {},
    metrics: new Metrics(),
    now: () => 0,
    turnEnd: () => Promise.resolve(),
  });
  return within(connection.serve(), "the end of the connection");
}

/** In pieces of these lengths, taken in turns. */
function send(peer: Peer, bytes: Uint8Array, lengths: readonly number[]): void {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    peer.send(bytes.subarray(at, at + length));
    at += length;
  }
  peer.end();
}

const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 10 });

Deno.test("any requests in any split are answered, each once, in order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(), { minLength: 1, maxLength: 10 }),
      framings,
      cuts,
      async (numbers, framing, lengths) => {
        const peer = new Peer(framing);
        const serving = serve(peer, []);
        send(peer, new Uint8Array(numbers.flatMap((n) => [...encodeMessage(framing, { n })])), lengths);
        assertEquals((await peer.receiveAll()).map((reply) => reply["n"]), numbers);
        await serving;
      },
    ),
    runs(200),
  );
});

Deno.test("any bytes lead to a reply or a closed connection, and the handler gets objects only", async () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 2_000 }),
    fc.string({ maxLength: 500 }).map((text) => new TextEncoder().encode(text)),
    fc.array(fc.constantFrom(0, 0, 0, 4, 0x22, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d, 0x0a), { maxLength: 2_000 })
      .map((bytes) => new Uint8Array(bytes)),
  );
  await fc.assert(
    fc.asyncProperty(anything, cuts, async (bytes, lengths) => {
      const peer = new Peer("raw");
      const asked: unknown[] = [];
      const serving = serve(peer, asked);
      send(peer, bytes, lengths);
      await within(drain(peer), "the end of the replies");
      await serving;
      assert(
        asked.every((request) => typeof request === "object" && request !== null && !Array.isArray(request)),
      );
    }),
    runs(300),
  );
});

/** The replies may be in any framing: what matters here is that they end. */
async function drain(peer: Peer): Promise<void> {
  const sink = new Uint8Array(65_536);
  while (await peer.read(sink) !== null);
}
