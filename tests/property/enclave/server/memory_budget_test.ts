/** The accounting of memory in flight: never negative, never above the limit, and zero when nothing is under way. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Connection } from "../../../../lib/enclave/server/connection.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import { createMemory, Reservation } from "../../../../lib/enclave/server/memory_budget.ts";
import { Metrics } from "../../../../lib/enclave/server/metrics.ts";
import { encodeMessage, type Framing } from "../../../../lib/shared/wire/framing.ts";
import { within } from "../../../helpers/deadline.ts";
import { Peer } from "../../../helpers/duplex.ts";

Deno.test("a budget counts what is reserved, whatever is reserved, resized and given back, in any order", () => {
  const step = fc.record({
    kind: fc.constantFrom("reserve", "resize", "dispose"),
    which: fc.nat(20),
    bytes: fc.nat(1_500),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
    const budget = createMemory(2_000).buffers;
    const held: Reservation[] = [];
    const check = () => {
      assertEquals(budget.used, held.reduce((sum, { bytes }) => sum + bytes, 0));
      assert(budget.used >= 0 && budget.used <= budget.limit);
    };
    for (const { kind, which, bytes } of steps) {
      const before = budget.used;
      const one = held[which % Math.max(1, held.length)];
      if (kind === "reserve") {
        const reservation = new Reservation(budget);
        const fits = reservation.resize(bytes);
        assertEquals(fits, before + bytes <= budget.limit);
        if (fits) held.push(reservation);
      } else if (kind === "resize" && one !== undefined) {
        const was = one.bytes;
        const fits = bytes <= was || before - was + bytes <= budget.limit;
        assertEquals([one.resize(bytes), one.bytes], [fits, fits ? bytes : was]);
      } else one?.[Symbol.dispose]();
      check();
    }
    for (const reservation of held) {
      reservation[Symbol.dispose]();
      reservation[Symbol.dispose]();
    }
    assertEquals(budget.used, 0);
  }));
});

Deno.test("connections give back all that they held, whatever arrives, is answered late, overdue or cut off", async () => {
  const framings = fc.constantFrom<Framing>("u64le", "u32be", "raw");
  const requests = fc.array(
    fc.oneof(
      fc.record({ n: fc.nat(), filler: fc.string({ maxLength: 40_000 }), late: fc.boolean() }),
      fc.record({ list: fc.array(fc.constant({}), { maxLength: 3_000 }), late: fc.boolean() }),
    ),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(
      requests,
      framings,
      fc.nat(60_000),
      fc.boolean(),
      async (sent, framing, cut, isSwept) => {
        const memory = createMemory(400_000);
        const peer = new Peer(framing);
        let now = 0;
        let lowest = 0;
        const watch = () => lowest = Math.min(lowest, memory.buffers.used, memory.requests.used);
        const connection = new Connection(1, peer.stream, {
          handler: (request, _signal, dropped) => {
            watch();
            const answer = { type: "x", reply: { status: "ok" } } as const;
            if (request["late"] !== true) return answer;
            if (request["n"] !== undefined) dropped?.();
            return new Promise((resolve) => setTimeout(() => resolve(answer), 0));
          },
          limits: { ...DEFAULT_LIMITS, maxMessage: 100_000 },
          memory,
          transport: "tcp",
          log: watch,
          metrics: new Metrics(),
          now: () => now,
          turnEnd: () => Promise.resolve(),
        });
        const serving = connection.serve();
        const bytes = sent.map((request) => encodeMessage(framing, request));
        for (const [index, message] of bytes.entries()) {
          peer.send(
            index === bytes.length - 1 ? message.subarray(0, Math.max(1, message.length - cut)) : message,
          );
        }
        if (isSwept) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          connection.sweep(now += DEFAULT_LIMITS.requestMs);
        }
        peer.end();
        await peer.receiveAll();
        await within(serving, "the end of the connection");
        // A handler that was given up ends after its connection.
        await new Promise((resolve) => setTimeout(resolve, 2));
        assertEquals([lowest, memory.buffers.used, memory.requests.used], [0, 0, 0]);
      },
    ),
    { numRuns: 150 },
  );
});
