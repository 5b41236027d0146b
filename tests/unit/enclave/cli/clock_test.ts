/** How the enclave's clock is kept at the NSM's time. What sets it here records the time and sets nothing. */
import { assertEquals } from "@std/assert";
import { keepClock } from "../../../../lib/enclave/cli/clock.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import type { LogFields } from "../../../../lib/shared/log.ts";

const PCR = (digit: string) => digit.repeat(96);
/** The module's time. */
const TRUE_MS = Date.parse("2026-11-30T02:20:00Z");

interface Machine {
  /** By how much its clock is ahead. Milliseconds. */
  readonly ahead: number;
  /** How long the module takes. Milliseconds. */
  readonly takes?: number;
  /** Whether the module reads its clock when the call begins or when it ends. */
  readonly readsAt?: "begin" | "end";
  readonly isSet?: boolean;
  readonly refuses?: string;
}

/** A machine whose clocks only the module's calls move on. */
async function machine({ ahead, takes = 0, readsAt = "begin", isSet = true, refuses }: Machine) {
  let passed = 0;
  let skew = ahead;
  const module = { isBroken: false };
  const nsm = await SimulatedNsm.start({
    nsmDevice: "/nonexistent",
    pcrs: { 0: PCR("a"), 1: PCR("b"), 2: PCR("c") },
    now: () => new Date(TRUE_MS + passed),
  });
  const set: number[] = [];
  const logged: (readonly [string, LogFields | undefined])[] = [];
  const now = () => new Date(TRUE_MS + passed + skew);
  const real = globalThis.setInterval;
  const timers: { readonly run: () => Promise<void>; readonly ms: number }[] = [];
  const record = (run: () => Promise<void>, ms: number) => (timers.push({ run, ms }), 0);
  globalThis.setInterval = record as unknown as typeof setInterval;
  let clock: Awaited<ReturnType<typeof keepClock>>;
  try {
    clock = await keepClock(
      {
        nsm: {
          attest: async () => {
            if (module.isBroken) throw new Error("ioctl");
            if (readsAt === "end") passed += takes;
            const document = await nsm.attest();
            if (readsAt === "begin") passed += takes;
            return document;
          },
        },
        now,
        monotonic: () => passed,
        set: (time) => {
          set.push(time);
          if (refuses === undefined) skew += time - now().getTime();
          return refuses;
        },
      },
      isSet,
      (_level, event, fields) => logged.push([event, fields]),
    );
  } finally {
    globalThis.setInterval = real;
  }
  const [timer] = timers;
  return {
    clock,
    set,
    logged,
    module,
    /** The machine's clock as it is off now. */
    skew: () => skew,
    step: (ms: number) => skew += ms,
    /** Ten minutes later. */
    later: async () => {
      assertEquals([timers.length, timer?.ms], [1, 600_000]);
      await timer?.run();
    },
    [Symbol.dispose]: () => nsm[Symbol.dispose](),
  };
}

for (const ahead of [501, -501, 3_600_000, -86_400_000]) {
  Deno.test(`a clock that is ${ahead} ms off is set at the start, and that is logged`, async () => {
    using rig = await machine({ ahead });
    assertEquals([rig.set.length, rig.skew(), rig.clock.ahead()], [1, 0, 0]);
    assertEquals(rig.logged, [["clock_set", { was_ahead_ms: ahead }]]);
  });
}

for (const ahead of [500, -500, 0]) {
  Deno.test(`a clock that is ${ahead} ms off is left alone`, async () => {
    using rig = await machine({ ahead });
    assertEquals([rig.set, rig.logged, rig.clock.ahead()], [[], [], ahead]);
  });
}

for (const [readsAt, left] of [["begin", -125], ["end", 125]] as const) {
  Deno.test(`a module that took 250 ms and read its clock at the ${readsAt} leaves half of that`, async () => {
    using rig = await machine({ ahead: 2_000, takes: 250, readsAt });
    assertEquals([rig.set.length, rig.skew()], [1, left]);
  });
}

Deno.test("a call that took more than 250 ms is skipped: nothing is set, and no difference is known", async () => {
  using rig = await machine({ ahead: 3_600_000, takes: 251 });
  assertEquals([rig.set, rig.logged, rig.clock.ahead()], [[], [], undefined]);
});

Deno.test("the clock is compared again every ten minutes", async () => {
  using rig = await machine({ ahead: 0 });
  rig.step(-40_000);
  await rig.later();
  assertEquals([rig.set.length, rig.skew(), rig.logged.length], [1, 0, 1]);
});

Deno.test("with --clock kernel the difference is known, and the clock is left alone", async () => {
  using rig = await machine({ ahead: 90_000, isSet: false });
  assertEquals([rig.set, rig.logged, rig.clock.ahead()], [[], [], 90_000]);
});

Deno.test("a clock that cannot be set is logged with the reason, and its difference shown", async () => {
  using rig = await machine({ ahead: 90_000, refuses: "EPERM" });
  assertEquals(rig.logged, [["clock_not_set", { ahead_ms: 90_000, reason: "EPERM" }]]);
  assertEquals(rig.clock.ahead(), 90_000);
});

Deno.test("a module that fails is logged, the last difference stays, and the clock is compared again", async () => {
  using rig = await machine({ ahead: 10 });
  rig.module.isBroken = true;
  rig.step(-60_000);
  await rig.later();
  assertEquals([rig.set, rig.clock.ahead()], [[], 10]);
  assertEquals(rig.logged, [["clock_not_compared", { reason: "ioctl" }]]);
  rig.module.isBroken = false;
  await rig.later();
  assertEquals([rig.set.length, rig.skew()], [1, 0]);
});

Deno.test("disposing ends the comparisons", async () => {
  using nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  // The test's sanitizer sees a timer that is left.
  const clocks = { now: () => new Date(), monotonic: () => performance.now() };
  using clock = await keepClock({ nsm, ...clocks, set: () => "not in a test" }, true, () => {});
  assertEquals(typeof clock.ahead(), "number");
});
