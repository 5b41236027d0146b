/**
 * What up does with an enclave, and what it does not: with an enclave, nitro-cli and time that the test
 * drives.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { UpEnclave, UpLimits } from "../../../../lib/ctl/up/config.ts";
import { NitroCliError, type RunningEnclave } from "../../../../lib/ctl/nitro/cli.ts";
import { Turn } from "../../../../lib/ctl/up/pauses.ts";
import type { EnclavePlan } from "../../../../lib/ctl/up/plan.ts";
import { Supervisor, type SupervisorPorts } from "../../../../lib/ctl/up/supervisor.ts";
import { ServiceError } from "../../../../lib/ctl/client/client.ts";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { FakeTime } from "../../../helpers/fake_time.ts";

const PCR0 = "aa".repeat(48);
const MINUTE = 60_000;
const LIMITS: UpLimits = {
  healthMs: 5_000,
  startMs: 120_000,
  requestMs: 65_000,
  firstPauseMs: 1_000,
  longestPauseMs: 300_000,
  steadyMs: 600_000,
};
const ENCLAVE: UpEnclave = {
  name: "main",
  image: "/enclave.eif",
  measurements: "/enclave.json",
  cpus: 2,
  memoryMib: 2_048,
  cid: 16,
  port: 5_000,
  connect: undefined,
  sessionKey: { wrapped: "/tsk.wrapped", epoch: undefined },
  listen: [],
  restartHours: undefined,
};
const PLAN: EnclavePlan = {
  enclave: ENCLAVE,
  pcrs: { 0: PCR0, 1: "bb".repeat(48), 2: "cc".repeat(48) },
  sessionKey: { wrapped: "AAAA", epoch: undefined },
  masterKeys: undefined,
};
const away = () => new EnclaveError("Cannot connect", { code: "connect_failed" });
const refused = (msg: string) => new ServiceError({ status: "error", msg });

/** A parent instance: what runs, what answers, and what was done, in order. */
class World {
  readonly time = new FakeTime();
  readonly done: string[] = [];
  running: RunningEnclave[] = [];
  turn = new Turn();
  /** What the enclave answers; throws when it does not. */
  health: () => WireObject = () => ({
    status: "ok",
    boot_id: this.boot,
    configured: this.configured,
    ...this.more,
  });
  more: WireObject = {};
  boot = "boot-0";
  configured = false;
  attest: () => void = () => {};
  sendSessionKey: () => void = () => {};
  sendMasterKeys: () => void = () => {};
  run: () => void = () => {};
  #started = 0;
  lost: () => void = () => {};
  supervisor: Supervisor;

  constructor(plan: Partial<EnclavePlan> = {}, enclave: Partial<UpEnclave> = {}) {
    this.supervisor = new Supervisor(
      { ...PLAN, ...plan, enclave: { ...ENCLAVE, ...enclave } },
      this.#ports(this),
    );
  }

  another(name: string, enclave: Partial<UpEnclave> = {}): Supervisor {
    return new Supervisor({ ...PLAN, enclave: { ...ENCLAVE, ...enclave, name, cid: 17 } }, this.#ports(this));
  }

  describe(more: Partial<RunningEnclave> = {}): RunningEnclave {
    const id = `enc-${++this.#started}`;
    return {
      name: "main",
      id,
      cid: 16,
      state: "RUNNING",
      isDebug: false,
      memoryMib: 2_048,
      cpus: 2,
      measurements: {},
      pcr0: PCR0,
      ...more,
    };
  }

  /** The enclave ends by itself. */
  die(): void {
    this.running = [];
    this.lost();
  }

  #ports(world: World): SupervisorPorts {
    const step = (what: string, work: () => void) => {
      world.done.push(what);
      work();
      return Promise.resolve();
    };
    const alive = <T>(answer: () => T | Promise<T>): Promise<T> =>
      world.running.length === 0 ? Promise.reject(away()) : Promise.resolve().then(answer);
    return {
      nitro: {
        list: () => Promise.resolve(world.running),
        run: async ({ name, cid = 20 }) => {
          await step("run", world.run);
          const made = world.describe({ name, cid });
          world.running = [...world.running, made];
          world.boot = `boot-${made.id}`;
          world.configured = false;
          return made;
        },
        terminate: (id) =>
          step("terminate", () => {
            world.running = world.running.filter((one) => one.id !== id);
          }),
      },
      open: () => ({
        health: () => alive(world.health),
        metrics: () => alive(() => ({ status: "ok", requests: {} })),
        clockDifference: () => alive(() => 3),
        attest: () => alive(() => step("attest", world.attest)),
        sendSessionKey: () =>
          alive(() =>
            step("keys", () => {
              world.sendSessionKey();
              world.configured = true;
            })
          ),
        sendMasterKeys: () => alive(() => step("master", world.sendMasterKeys)),
        [Symbol.dispose]: () => {},
      }),
      follow: (_, __, onLost) => {
        world.lost = onLost;
        return { stop: () => Promise.resolve(), last: () => "listening at noon" };
      },
      limits: LIMITS,
      turn: world.turn,
      log: () => {},
      after: world.time.after,
      now: world.time.now,
      wallClock: world.time.now,
      changed: () => {},
      serves: (_, address) => void world.done.push(address === undefined ? "unreachable" : "reachable"),
    };
  }

  /** What was done since the last look, but for what clients can reach. */
  taken(): readonly string[] {
    return this.done.splice(0).filter((what) => !what.endsWith("reachable"));
  }

  get phase(): string {
    return this.supervisor.state.phase;
  }
}

async function serving(world = new World()): Promise<World> {
  world.supervisor.start();
  await world.time.pass(1_000);
  assertEquals([world.phase, world.taken()], ["serving", ["run", "attest", "keys", "master"]]);
  return world;
}

Deno.test("an enclave is started, attests, gets its keys, and is then reachable", async () => {
  const world = new World();
  world.supervisor.start();
  await world.time.pass(1_000);
  assertEquals(world.done, ["unreachable", "run", "attest", "keys", "reachable", "master"]);
  const { phase, cid, enclaveId, bootId, clockDifferenceMs, restarts } = world.supervisor.state;
  assertEquals([phase, cid, enclaveId, bootId, clockDifferenceMs], ["serving", 16, "enc-1", "boot-enc-1", 3]);
  assertEquals(restarts, {});
  await world.supervisor.stop({ keep: false });
  assertEquals([world.phase, world.running], ["stopped", []]);
});

Deno.test("one with this PCR0 that runs is taken over, and gets its keys as a new one does", async () => {
  const world = new World();
  world.running = [world.describe({ name: "by-hand" })];
  world.supervisor.start();
  await world.time.pass(1_000);
  assertEquals([world.phase, world.taken()], ["serving", ["attest", "keys", "master"]]);
  await world.supervisor.stop({ keep: true });
  assertEquals(world.running.length, 1);
});

Deno.test("with a CID of nitro-cli's choice, the one of this name is taken over", async () => {
  const world = new World({}, { cid: undefined });
  world.running = [world.describe({ name: "other", cid: 40 }), world.describe({ cid: 41 })];
  world.supervisor.start();
  await world.time.pass(1_000);
  assertEquals([world.supervisor.state.cid, world.taken()], [41, ["attest", "keys", "master"]]);
  await world.supervisor.stop({ keep: true });
});

Deno.test("another build under this name is ended; another enclave's CID is left alone", async () => {
  const old = new World();
  old.running = [old.describe({ pcr0: "0f".repeat(48) })];
  old.supervisor.start();
  await old.time.pass(1_000);
  assertEquals(old.taken(), ["terminate", "run", "attest", "keys", "master"]);
  assertEquals(old.supervisor.state.restarts, { changed: 1 });
  await old.supervisor.stop({ keep: false });

  for (const other of [{ name: "other", pcr0: "0f".repeat(48) }, { isDebug: true, pcr0: "00".repeat(48) }]) {
    const world = new World();
    world.running = [world.describe(other)];
    world.supervisor.start();
    await world.time.pass(10 * MINUTE);
    assertEquals([world.phase, world.taken()], ["waiting", []]);
    assertMatch(world.supervisor.state.reason, /which is not of this file, has CID 16/);
    world.running = [];
    await world.time.pass(5 * MINUTE);
    assertEquals(world.phase, "serving");
    await world.supervisor.stop({ keep: true });
  }
});

Deno.test("an enclave that ends is started again at once, the second time after a second", async () => {
  const world = await serving();
  world.die();
  await world.time.pass(200);
  assertEquals([world.phase, world.taken()], ["serving", ["run", "attest", "keys", "master"]]);
  world.die();
  await world.time.pass(900);
  assertEquals([world.phase, world.taken()], ["waiting", []]);
  await world.time.pass(300);
  assertEquals([world.phase, world.taken()], ["serving", ["run", "attest", "keys", "master"]]);
  assertEquals(world.supervisor.state.restarts, { health: 2 });
  await world.supervisor.stop({ keep: false });
});

Deno.test("a connection that is lost while the enclave runs restarts nothing", async () => {
  const world = await serving();
  world.lost();
  await world.time.pass(MINUTE);
  assertEquals([world.phase, world.taken(), world.supervisor.state.restarts], ["serving", [], {}]);
  await world.supervisor.stop({ keep: false });
});

Deno.test("one that does not answer is restarted after three misses over 15 s, and not before", async () => {
  const world = await serving();
  const { health } = world;
  world.health = () => {
    throw away();
  };
  await world.time.pass(13_000);
  assertEquals([world.phase, world.taken()], ["serving", []]);
  world.run = () => world.health = health;
  await world.time.pass(7_000);
  assertEquals([world.phase, world.taken()], ["serving", ["terminate", "run", "attest", "keys", "master"]]);
  assertEquals(world.supervisor.state.restarts, { health: 1 });
  await world.supervisor.stop({ keep: false });
});

Deno.test("two misses and an answer, again and again, restart nothing; nor does a busy service", async () => {
  const world = await serving();
  let asked = 0;
  const { health } = world;
  world.health = () => {
    if (asked++ % 4 < 2) throw away();
    return health();
  };
  await world.time.pass(10 * MINUTE);
  world.health = () => ({ status: "error", msg: "busy" });
  await world.time.pass(60 * MINUTE);
  assertEquals([world.phase, world.supervisor.state.restarts], ["serving", {}]);
  assert(!world.taken().some((what) => what === "terminate" || what === "run"));
  await world.supervisor.stop({ keep: false });
});

Deno.test("another boot, or a lost key, gets the keys again without a restart", async () => {
  const world = await serving();
  world.boot = "boot-of-another-hand";
  world.configured = false;
  await world.time.pass(6_000);
  assertEquals(world.taken(), ["attest", "keys", "master"]);
  world.configured = false;
  await world.time.pass(8_000);
  assertEquals(world.taken(), ["attest", "keys", "master"]);
  assertEquals([world.phase, world.supervisor.state.restarts], ["serving", { boot: 1, state: 1 }]);
  await world.supervisor.stop({ keep: false });
});

Deno.test("a master key that is lost is sent again", async () => {
  const masterKeys = { enclaveIds: [1], builds: [] } as unknown as NonNullable<EnclavePlan["masterKeys"]>;
  const world = await serving(new World({ masterKeys }));
  world.more = { master_key: { initialised: false } };
  world.sendMasterKeys = () => world.more = { master_key: { initialised: true } };
  await world.time.pass(6_000);
  assertEquals([world.phase, world.taken()], ["serving", ["attest", "keys", "master"]]);
  await world.supervisor.stop({ keep: false });
});

for (const code of ["kms_decrypt_failed", "busy", "timeout", "clock_skewed"]) {
  Deno.test(`where KMS says no (${code}), the enclave is left running and asked seldom; then it serves`, async () => {
    const world = new World();
    world.sendSessionKey = () => {
      throw refused(code);
    };
    world.supervisor.start();
    await world.time.pass(60 * MINUTE);
    const taken = world.taken();
    assertEquals(taken.filter((what) => what === "run" || what === "terminate"), ["run"]);
    // 1, 2, 4 … 256 s, then every 5 min.
    const calls = taken.filter((what) => what === "keys").length;
    assert(calls >= 15 && calls <= 21, `${calls} calls in an hour`);
    assertEquals(world.phase, "waiting");
    assertMatch(world.supervisor.state.reason, new RegExp(`${code}.*the next attempt is in 300 s`));
    world.sendSessionKey = () => {};
    await world.time.pass(5 * MINUTE);
    assertEquals([world.phase, world.supervisor.state.restarts], ["serving", {}]);
    await world.supervisor.stop({ keep: false });
  });
}

Deno.test("a master key that does not open keeps no client of the session key away", async () => {
  const world = new World();
  world.sendMasterKeys = () => {
    throw refused("kms_decrypt_failed");
  };
  world.supervisor.start();
  await world.time.pass(10 * MINUTE);
  assertEquals(world.phase, "waiting");
  const reach = world.done.filter((what) => what.endsWith("reachable"));
  assertEquals([reach[0], new Set(reach.slice(1))], ["unreachable", new Set(["reachable"])]);
  await world.supervisor.stop({ keep: false });
});

Deno.test("what an unverified enclave says is one line of the reason: each line is a statement to systemd", async () => {
  const world = new World();
  world.attest = () => {
    throw new ServiceError({ status: "error", msg: "busy", details: "later\nREADY=1\nMAINPID=1\x1b[2J" });
  };
  world.supervisor.start();
  await world.time.pass(1_000);
  assertEquals(world.phase, "waiting");
  assertMatch(world.supervisor.state.reason, /later\\u000aREADY=1\\u000aMAINPID=1\\u001b\[2J/);
  await world.supervisor.stop({ keep: false });
});

for (
  const [what, thrown] of [
    ["another image's", new AttestationError("attestation_pcr", "PCR0 is another")],
    ["that of an enclave in debug mode", new AttestationError("attestation_debug", "PCRs of zeros")],
    ["missing", refused("attestation_unavailable")],
  ] as const
) {
  Deno.test(`no key is sent where the document is ${what}; the enclave is restarted after three attempts`, async () => {
    const world = new World();
    world.attest = () => {
      throw thrown;
    };
    world.supervisor.start();
    await world.time.pass(60 * MINUTE);
    const taken = world.taken();
    assertEquals(taken.slice(0, 5), ["run", "attest", "attest", "attest", "terminate"]);
    assertEquals([taken.includes("keys"), taken.includes("master")], [false, false]);
    assert(taken.filter((step) => step === "terminate").length <= 8);
    assertEquals(world.done.includes("reachable"), false);
    await world.supervisor.stop({ keep: false });
  });
}

for (const code of ["attestation_stale", "attestation_expired"] as const) {
  Deno.test(`a clock that is wrong (${code}) restarts nothing, and no key is sent`, async () => {
    const world = new World();
    world.attest = () => {
      throw new AttestationError(code, "of another time");
    };
    world.supervisor.start();
    await world.time.pass(60 * MINUTE);
    assertEquals(new Set(world.taken()), new Set(["run", "attest"]));
    assertEquals([world.phase, world.running.length], ["waiting", 1]);
    await world.supervisor.stop({ keep: false });
  });
}

Deno.test("an NSM that fails while the enclave serves leads to a restart after three attempts", async () => {
  const world = await serving();
  world.attest = () => {
    throw refused("attestation_unavailable");
  };
  await world.time.pass(10 * MINUTE + 1.5 * MINUTE);
  assertEquals(world.taken(), ["attest", "attest"]);
  world.run = () => world.attest = () => {};
  await world.time.pass(2 * MINUTE);
  assertEquals(world.taken(), ["attest", "terminate", "run", "attest", "keys", "master"]);
  assertEquals([world.phase, world.supervisor.state.restarts], ["serving", { attestation: 1 }]);
  await world.supervisor.stop({ keep: false });
});

Deno.test("an image that cannot start is tried after pauses that grow to 5 min, and what nitro-cli says is shown", async () => {
  const world = new World();
  world.run = () => {
    throw new NitroCliError("nitro-cli run-enclave ended with 36: [ E36 ]", { code: "E36", hint: "Look." });
  };
  world.supervisor.start();
  await world.time.pass(60 * MINUTE);
  const runs = world.taken();
  assertEquals(new Set(runs), new Set(["run"]));
  assert(runs.length >= 15 && runs.length <= 21, `${runs.length}`);
  assertMatch(world.supervisor.state.reason, /E36.*Look\./);
  await world.supervisor.stop({ keep: false });
});

Deno.test("one that ends before it answers is noticed within two seconds; one that never answers is ended", async () => {
  const dead = new World();
  dead.health = () => {
    throw away();
  };
  dead.supervisor.start();
  await dead.time.pass(500);
  dead.running = [];
  await dead.time.pass(1_200);
  assertMatch(dead.supervisor.state.restarts["health"]?.toString() ?? "", /[12]/);
  await dead.supervisor.stop({ keep: false });

  const silent = new World();
  silent.health = () => {
    throw away();
  };
  silent.supervisor.start();
  await silent.time.pass(121_000);
  assertEquals(silent.taken().slice(0, 2), ["run", "terminate"]);
  await silent.supervisor.stop({ keep: false });
});

Deno.test("on a schedule an enclave is restarted, and never two at a time", async () => {
  const world = await serving(new World({}, { restartHours: 1 }));
  const other = world.another("other", { restartHours: 1 });
  other.start();
  await world.time.pass(1_000);
  world.taken();
  world.more = { uptime_s: 3_600 };
  world.run = () => {
    throw new NitroCliError("no memory", { code: "E27" });
  };
  await world.time.pass(30 * MINUTE);
  assertEquals(world.taken().filter((what) => what === "terminate").length, 1);
  assertEquals([world.phase, other.state.phase].toSorted(), ["serving", "waiting"]);
  world.run = () => world.more = {};
  await world.time.pass(10 * MINUTE);
  assertEquals([world.phase, other.state.phase], ["serving", "serving"]);
  await world.supervisor.stop({ keep: false });
  await other.stop({ keep: false });
});

Deno.test("another plan: a changed image is stopped and started, other keys are sent without that", async () => {
  const world = await serving();
  world.supervisor.update({ ...PLAN, sessionKey: { wrapped: "BBBB", epoch: undefined } }, "keys");
  await world.time.pass(100);
  assertEquals([world.phase, world.taken()], ["serving", ["attest", "keys", "master"]]);
  world.supervisor.update({ ...PLAN, enclave: { ...ENCLAVE, image: "/next.eif" } }, "enclave");
  await world.time.pass(200);
  assertEquals([world.phase, world.taken()], ["serving", ["terminate", "run", "attest", "keys", "master"]]);
  assertEquals(world.supervisor.state.restarts, { changed: 2 });
  await world.supervisor.stop({ keep: false });
});

Deno.test("a plan that comes while it waits is tried at once", async () => {
  const world = new World();
  world.sendSessionKey = () => {
    throw refused("kms_decrypt_failed");
  };
  world.supervisor.start();
  await world.time.pass(20 * MINUTE);
  world.sendSessionKey = () => {};
  world.supervisor.update(PLAN, undefined);
  await world.time.pass(100);
  assertEquals(world.phase, "serving");
  await world.supervisor.stop({ keep: false });
});

Deno.test("it can be stopped in every phase, and then ends what it started", async () => {
  for (const phase of ["starting", "verifying", "configuring", "waiting", "serving"]) {
    const world = new World();
    if (phase === "starting") {
      world.health = () => {
        throw away();
      };
    }
    if (phase === "verifying") world.attest = () => void world.supervisor.stop({ keep: false });
    if (phase === "configuring") world.sendSessionKey = () => void world.supervisor.stop({ keep: false });
    if (phase === "waiting") {
      world.sendSessionKey = () => {
        throw refused("busy");
      };
    }
    world.supervisor.start();
    await world.time.pass(3_000);
    await world.supervisor.stop({ keep: false });
    assertEquals([world.phase, world.running], ["stopped", []], phase);
  }
});
