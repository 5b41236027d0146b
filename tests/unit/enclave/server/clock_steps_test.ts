/** Requests while the wall clock is set, forwards and backwards: no deadline and no key's age is measured by it. */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import type { Limits } from "../../../../lib/shared/cli/limits.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { MemoryAcceptor, type Peer } from "../../../helpers/duplex.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { startTestService } from "../../../helpers/test_service.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const CONFIGURE = {
  type: "configure",
  encrypted_tsk: encodeBase64(new Uint8Array([1])),
  aws_access_key_id: "AKID",
  aws_secret_access_key: "NEVER-SEEN",
};
const DAY_MS = 86_400_000;

/** The process's wall clock, which can be set. */
function steppedClock() {
  const Real = globalThis.Date;
  let ahead = 0;
  class Stepped extends Real {
    constructor(...given: readonly unknown[]) {
      super(...(given.length > 0 ? given : [Real.now() + ahead]) as [number]);
    }
    static override now(): number {
      return Real.now() + ahead;
    }
  }
  globalThis.Date = Stepped as DateConstructor;
  return { step: (ms: number) => ahead += ms, [Symbol.dispose]: () => void (globalThis.Date = Real) };
}

async function setup(limits: Partial<Limits> = {}) {
  const answer = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  const acceptor = new MemoryAcceptor();
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  const real = globalThis.setInterval;
  const timers: (() => void)[] = [];
  const record = (run: () => void, ms: number) => (timers.push(run), real(run, ms));
  globalThis.setInterval = record as typeof setInterval;
  try {
    const service = startTestService({
      kms: new FakeKms(() => answer.promise),
      acceptor,
      keys: [parseKeyArn(ARN)],
      attester: nsm,
      limits: { ...DEFAULT_LIMITS, ...limits },
    });
    const ask = async (request: WireObject, peer: Peer) => {
      peer.send(request);
      return await peer.receive() ?? {};
    };
    return {
      acceptor,
      answer,
      ask,
      /** Ends what has taken too long, as the server does each second. */
      sweep: () => {
        assertEquals(timers.length, 1);
        timers[0]?.();
      },
      [Symbol.asyncDispose]: () => service.stop(0),
    };
  } finally {
    globalThis.setInterval = real;
  }
}

for (const [way, step] of [["forwards", DAY_MS], ["backwards", -DAY_MS]] as const) {
  Deno.test(`a wall clock that is set ${way} ends no request and no wait, and ages no key`, async () => {
    using clock = steppedClock();
    await using rig = await setup();
    const [idle, waiting, configuring, other] = [1, 2, 3, 4].map(() => rig.acceptor.connect()) as [
      Peer,
      Peer,
      Peer,
      Peer,
    ];
    const attest = { type: "attest", nonce: encodeBase64(new Uint8Array(16)) };
    const { key_id } = await rig.ask(attest, idle);
    const { events } = await rig.ask({ type: "logs" }, other);
    const last = (events as WireObject[]).at(-1)?.["seq"] ?? 0;
    waiting.send({ type: "logs", after: last, wait_ms: 30_000 });
    configuring.send(CONFIGURE);
    await waiting.allRead();
    await rig.ask({ type: "ping" }, other);
    clock.step(step);
    rig.sweep();
    rig.answer.resolve(new Uint8Array(32).fill(1));
    assertEquals((await configuring.receive())?.["msg"], "configured");
    assertEquals((await waiting.receive())?.["status"], "ok");
    assertEquals((await rig.ask(attest, idle))["key_id"], key_id);
    const { uptime_s } = await rig.ask({ type: "health" }, other);
    assert(Number(uptime_s) >= 0 && Number(uptime_s) < 60, `${uptime_s} s`);
  });

  Deno.test(`a request without an answer ends at its time limit, though the wall clock is set ${way}`, async () => {
    using clock = steppedClock();
    await using rig = await setup({ requestMs: 100 });
    const peer = rig.acceptor.connect();
    peer.send(CONFIGURE);
    // It has been read, and waits for KMS.
    await rig.ask({ type: "ping" }, rig.acceptor.connect());
    clock.step(step);
    assertEquals((await peer.receive())?.["msg"], "timeout");
  });
}
