/** How the pool schedules, repeats, replaces and starts SDK processes again: with scripted children and a clock that the test controls. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Credentials,
  type KmsCall,
  type KmsCallResult,
  SdkError,
  type WarmSessionState,
} from "../../../../lib/enclave/kms/aws_ne/mod.ts";
import { decode, encode } from "cborg";
import type { ChildEvents } from "../../../../lib/enclave/children/child.ts";
import { restartDelay } from "../../../../lib/enclave/children/children.ts";
import { HEADER_LENGTH } from "../../../../lib/enclave/children/frames.ts";
import { LastLines } from "../../../../lib/enclave/children/last_lines.ts";
import { SdkPool, type SdkPoolOptions } from "../../../../lib/enclave/kms/sdk_process/pool.ts";
import type { CarriedError, SdkRequest } from "../../../../lib/enclave/kms/sdk_process/protocol.ts";
import {
  type Candidate,
  chooseProcess,
  maxClientsFor,
} from "../../../../lib/enclave/kms/sdk_process/schedule.ts";

const KEY = new Uint8Array([1, 2, 3]);
const DECRYPT: KmsCall = { kind: "decrypt", ciphertext: new Uint8Array([9]) };
const DEADLINES = { startMs: 1_000, connectMs: 35_000, callMs: 5_000, totalMs: 45_000 };

/** A clock that the test moves. */
class Clock {
  #now = 0;
  #timers = new Set<{ readonly at: number; readonly run: () => void }>();

  readonly after = (ms: number, run: () => void): () => void => {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#now = next.at;
      this.#timers.delete(next);
      next.run();
    }
    this.#now = until;
  }

  get pending(): number {
    return this.#timers.size;
  }
}

const NO_SESSION: WarmSessionState = {
  directory: "/app",
  entropySeeded: true,
  clientsWarm: 0,
  clientsSetAside: 0,
  clientsMade: 0,
};

class FakeChild {
  readonly posted: SdkRequest[] = [];
  isKilled = false;
  readonly lines = new LastLines();
  readonly pid: number;
  #events: ChildEvents;

  constructor(events: ChildEvents, pid: number) {
    this.#events = events;
    this.pid = pid;
  }

  get current(): SdkRequest {
    const request = this.posted.at(-1);
    if (request === undefined) throw new Error("nothing was posted");
    return request;
  }

  post(frame: Uint8Array): void {
    this.posted.push(decode(frame.slice(HEADER_LENGTH)) as SdkRequest);
  }

  /** What it sent, which the pool wipes. */
  sent = new Uint8Array(0);

  #send(message: object): void {
    this.sent = new Uint8Array(encode(message, { ignoreUndefinedProperties: true }));
    this.#events.message(this.sent);
  }

  kill(): void {
    this.isKilled = true;
  }

  prints(words: string): void {
    this.lines.clear();
    this.lines.add(words);
    this.#events.printed?.();
  }

  opened(): void {
    this.#send({ id: this.current.id, ok: true, state: NO_SESSION });
  }

  phase(phase: "connecting" | "calling"): void {
    this.#send({ id: this.current.id, phase });
  }

  answer(clientsMade = 1, blockingBecause?: string): void {
    this.#send({
      id: this.current.id,
      ok: true,
      state: { ...NO_SESSION, clientsMade, ...(blockingBecause === undefined ? {} : { blockingBecause }) },
      plaintext: new Uint8Array(KEY),
    });
  }

  /** Answers a request of its choice. */
  answerTo(id: number, plaintext: Uint8Array<ArrayBuffer>): void {
    this.#send({ id, ok: true, state: NO_SESSION, plaintext });
  }

  refuse(error: Partial<CarriedError> = {}): void {
    const carried = { code: "sdk_kms_decrypt", message: "no", symbol: "s", ...error };
    this.#send({ id: this.current.id, ok: false, error: carried });
  }

  end(how = "signal SIGSEGV"): void {
    if (!this.isKilled) this.#events.ended(how);
  }
}

function makePool(options: Partial<SdkPoolOptions> = {}) {
  const clock = new Clock();
  const children: FakeChild[] = [];
  const pool = new SdkPool({
    start: (events) => {
      const child = new FakeChild(events, children.length);
      children.push(child);
      return child;
    },
    open: { proxyPort: 8000, seedBytes: 0, idleMs: 60_000, maxWarm: 4 },
    processes: 1,
    deadlines: DEADLINES,
    maxClients: 64,
    maxWaiting: { decrypt: 32, generateDataKey: 32, generateRandom: 8 },
    log: () => {},
    after: clock.after,
    ...options,
  });
  const child = (index: number): FakeChild => {
    const found = children[index];
    if (found === undefined) throw new Error(`no child ${index} was started`);
    return found;
  };
  const call = (id = "AKID", what = DECRYPT): Promise<KmsCallResult> => {
    using who = Credentials.fromStrings({ accessKeyId: id, secretAccessKey: "s", sessionToken: "t" });
    const result = pool.call("us-east-1", who, what);
    result.catch(() => {});
    return result;
  };
  return { pool, clock, children, child, call, [Symbol.dispose]: () => pool[Symbol.dispose]() };
}

async function started(options: Partial<SdkPoolOptions> = {}) {
  const rig = makePool(options);
  const opening = rig.pool.start();
  for (const child of rig.children) child.opened();
  await opening;
  return rig;
}

async function plaintextOf(result: Promise<KmsCallResult>): Promise<Uint8Array> {
  using plaintext = (await result).plaintext;
  return new Uint8Array(plaintext.expose());
}

async function errorOf(result: Promise<unknown>): Promise<SdkError> {
  return await assertRejects(() => result, SdkError);
}

const candidate = (name: string, part: Partial<Candidate> = {}): Candidate & { readonly name: string } => ({
  name,
  busyWith: undefined,
  isConnecting: false,
  warm: new Set(),
  ...part,
});
const warm = new Set(["A"]);

const CHOICES:
  readonly (readonly [string, readonly ReturnType<typeof candidate>[], number, string | undefined])[] = [
    ["the only one", [candidate("one")], 0, "one"],
    ["none, when all are busy", [candidate("one", { busyWith: "B" })], 0, undefined],
    ["one with a warm client before others", [candidate("cold"), candidate("warm", { warm })], 0, "warm"],
    [
      "the one with the fewest clients",
      [
        candidate("two", { warm: new Set(["B", "C"]) }),
        candidate("one", { warm: new Set(["B"]) }),
      ],
      0,
      "one",
    ],
    [
      "to wait for a warm one that is busy",
      [candidate("idle"), candidate("warm", { warm, busyWith: "B" })],
      0,
      undefined,
    ],
    [
      "to wait for one that makes this very client",
      [
        candidate("idle"),
        candidate("one", { busyWith: "A", isConnecting: true }),
      ],
      0,
      undefined,
    ],
    [
      "an idle one when others wait for the warm one already",
      [
        candidate("idle"),
        candidate("warm", { warm, busyWith: "A" }),
      ],
      1,
      "idle",
    ],
    [
      "an idle one while the warm one connects for others",
      [
        candidate("idle"),
        candidate("warm", { warm, busyWith: "B", isConnecting: true }),
      ],
      0,
      "idle",
    ],
  ];
for (const [what, candidates, waiting, expected] of CHOICES) {
  Deno.test(`SDK pool: the choice is ${what}`, () => {
    assertEquals(chooseProcess("A", candidates, waiting)?.name, expected);
  });
}

Deno.test("SDK pool: clients with more event loops are fewer, so that a process keeps within 1,024 descriptors", () => {
  assertEquals([1, 2, 4, 8, 12, 16, 32, 192].map(maxClientsFor), [64, 64, 64, 64, 64, 52, 27, 4]);
});

Deno.test("SDK pool: restarts are at once, then after 100 ms, doubling to 10 s", () => {
  const delays = Array.from({ length: 10 }, (_, index) => restartDelay(index + 1));
  assertEquals(delays, [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  assertEquals(restartDelay(1_000), 10_000);
});

Deno.test("SDK pool: the same credentials stay with their process, others spread", async () => {
  using rig = await started({ processes: 2 });
  for (const [id, index] of [["A", 0], ["B", 1], ["A", 0], ["B", 1], ["B", 1]] as const) {
    const result = rig.call(id);
    rig.child(index).answer();
    assertEquals(await plaintextOf(result), KEY);
  }
});

Deno.test("SDK pool: as many calls as it takes at once, of the same credentials, give every process one", async () => {
  for (const processes of [1, 2, 4, 8]) {
    using rig = await started({ processes });
    for (let call = 0; call < rig.pool.callsAtOnce; call++) rig.call();
    assertEquals(rig.children.map(({ current }) => current.op), rig.children.map(() => "call"));
  }
});

Deno.test("SDK pool: a connection has 35 s, a call 5 s, and both start anew with their phase", async () => {
  using rig = await started();
  const result = rig.call();
  rig.clock.advance(4_999);
  rig.child(0).phase("connecting");
  rig.clock.advance(34_999);
  rig.child(0).phase("calling");
  assertEquals(rig.child(0).isKilled, false);
  rig.clock.advance(4_999);
  assertEquals([rig.child(0).isKilled, rig.children.length], [false, 1]);
  rig.clock.advance(1);
  assertEquals([rig.child(0).isKilled, rig.children.length, rig.pool.state.hung], [true, 2, 1]);
  // 45 s in all are over.
  rig.clock.advance(2);
  assertEquals((await errorOf(result)).code, "kms_timeout");
});

for (
  const [what, fail] of [
    ["hangs", (child: FakeChild, clock: Clock) => (void child, clock.advance(5_000))],
    ["is lost", (child: FakeChild) => child.end()],
  ] as const
) {
  Deno.test(`SDK pool: a call whose process ${what} is made once more, in a process started at once`, async () => {
    using rig = await started();
    const result = rig.call();
    fail(rig.child(0), rig.clock);
    assertEquals(rig.children.length, 2);
    rig.child(1).opened();
    rig.child(1).answer();
    assertEquals(await plaintextOf(result), KEY);
  });

  Deno.test(`SDK pool: a call whose second process ${what} as well fails`, async () => {
    using rig = await started();
    const result = rig.call();
    fail(rig.child(0), rig.clock);
    rig.child(1).opened();
    fail(rig.child(1), rig.clock);
    const error = await errorOf(result);
    assert(error.code === "kms_timeout" || error.code === "sdk_process", String(error));
    // A call is posted once to each.
    assertEquals(rig.children.slice(0, 2).map(({ posted }) => posted.length), [2, 2]);
  });
}

Deno.test("SDK pool: a lost connection costs one more attempt, not the process", async () => {
  using rig = await started();
  const result = rig.call();
  rig.child(0).refuse({ isLost: true });
  rig.clock.advance(10);
  assertEquals(rig.child(0).posted.length, 3);
  rig.child(0).refuse({ isLost: true });
  rig.clock.advance(10);
  assertEquals((await errorOf(result)).code, "sdk_kms_decrypt");
  assertEquals([rig.children.length, rig.child(0).posted.length], [1, 3]);
});

Deno.test("SDK pool: processes that are lost again and again are started with growing delays, until one answers", async () => {
  using rig = await started();
  rig.child(0).end();
  for (const delay of [100, 200, 400]) {
    const before = rig.children.length;
    rig.child(before - 1).opened();
    rig.child(before - 1).end();
    rig.clock.advance(delay - 1);
    assertEquals(rig.children.length, before);
    rig.clock.advance(1);
    assertEquals(rig.children.length, before + 1);
  }
  const last = rig.child(rig.children.length - 1);
  last.opened();
  const result = rig.call();
  last.answer();
  await plaintextOf(result);
  const before = rig.children.length;
  last.end();
  assertEquals(rig.children.length, before + 1);
});

Deno.test("SDK pool: at 64 clients a new process is started first, and the old one ends when it is ready", async () => {
  using rig = await started();
  const first = rig.call();
  rig.child(0).answer(63);
  await plaintextOf(first);
  assertEquals(rig.children.length, 1);
  const second = rig.call();
  rig.child(0).answer(64);
  await plaintextOf(second);
  assertEquals([rig.children.length, rig.child(0).isKilled], [2, false]);
  // The old one serves on until then, also a call that is under way when the new one is ready.
  const third = rig.call();
  rig.child(1).opened();
  assertEquals([rig.child(0).isKilled, rig.pool.pids], [false, [0, 1]]);
  const fourth = rig.call("B");
  rig.child(1).answer();
  await plaintextOf(fourth);
  rig.child(0).answer(64);
  assertEquals(await plaintextOf(third), KEY);
  assertEquals([rig.child(0).isKilled, rig.pool.state.replaced, rig.pool.pids], [true, 1, [1]]);
});

Deno.test("SDK pool: a successor that does not start leaves the old one in service", async () => {
  using rig = await started();
  const first = rig.call();
  rig.child(0).answer(64);
  await plaintextOf(first);
  rig.child(1).end();
  const second = rig.call();
  rig.child(0).answer(64);
  assertEquals(await plaintextOf(second), KEY);
  assertEquals(rig.child(0).isKilled, false);
});

Deno.test("SDK pool: of 100 data keys at once, one is made, 32 wait, and 67 are answered busy", async () => {
  using rig = await started();
  const call: KmsCall = { kind: "generateDataKey", keyId: "k", keySpec: "AES_256" };
  const results = Array.from({ length: 100 }, () => rig.call("AKID", call));
  // Other kinds have places of their own.
  const decrypting = rig.call();
  for (let answer = 0; answer < 34; answer++) rig.child(0).answer();
  const settled = await Promise.allSettled(results);
  const busy = settled.filter((result) => result.status === "rejected" && result.reason.code === "sdk_busy");
  assertEquals([busy.length, settled.length - busy.length], [67, 33]);
  assertEquals(await plaintextOf(decrypting), KEY);
});

Deno.test("SDK pool: a call that waits too long is answered, and never made", async () => {
  using rig = await started({ deadlines: { ...DEADLINES, totalMs: 3_000 } });
  const first = rig.call("A");
  const second = rig.call("B");
  rig.clock.advance(3_000);
  for (const result of [first, second]) assertEquals((await errorOf(result)).code, "kms_timeout");
  rig.child(0).answer();
  assertEquals([rig.child(0).posted.length, rig.pool.state.waiting], [2, 0]);
});

Deno.test("SDK pool: a call that waits while no process can be started says why", async () => {
  using rig = await started();
  rig.child(0).end();
  rig.child(1).end("exit code 1");
  const result = rig.call();
  for (let index = 2; index < 12; index++) {
    rig.clock.advance(10_000);
    rig.children.at(-1)?.end("exit code 1");
  }
  const error = await errorOf(result);
  assert(error.message.includes("no SDK process is running"), error.message);
  assert(error.message.includes("exit code 1"), error.message);
  assertEquals(
    [error.connection, error.hint?.includes("vsock-proxy"), error.hint?.includes("sdk_process_lost")],
    ["no SDK process is running", false, true],
  );
});

const REFUSED =
  "Connection failed with error aws-c-io: AWS_IO_SOCKET_CONNECTION_REFUSED, socket connection refused.";

for (
  const [what, words, isConnecting, connection] of [
    ["a connect that was refused", REFUSED, true, /^no vsock-proxy on port 8000$/],
    ["a call whose connection closed", "Disconnected.", false, /closed before KMS answered$/],
  ] as const
) {
  Deno.test(`SDK pool: ${what} has 200 ms to end, and is then made in another process, once`, async () => {
    using rig = await started();
    const result = rig.call();
    for (const index of [0, 1]) {
      if (index > 0) rig.child(index).opened();
      if (isConnecting) rig.child(index).phase("connecting");
      rig.child(index).prints(words);
      rig.clock.advance(199);
      // What is printed later gives no more time.
      rig.child(index).prints(words);
      assertEquals(rig.child(index).isKilled, false);
      rig.clock.advance(1);
      assertEquals(rig.child(index).isKilled, true);
      // The second process in a row is started after 100 ms.
      rig.clock.advance(100);
    }
    const error = await errorOf(result);
    assertEquals(error.code, isConnecting ? "sdk_kms_client" : "sdk_kms_decrypt");
    assert(connection.test(error.connection ?? ""), error.connection);
    assertEquals([error.message.includes(words), rig.pool.state.hung], [true, 2]);
  });

  Deno.test(`SDK pool: ${what} that ends by itself costs no process`, async () => {
    using rig = await started();
    const result = rig.call();
    if (isConnecting) rig.child(0).phase("connecting");
    rig.child(0).prints(words);
    rig.clock.advance(199);
    rig.child(0).answer();
    assertEquals(await plaintextOf(result), KEY);
    rig.clock.advance(1_000);
    assertEquals([rig.child(0).isKilled, rig.pool.state.hung], [false, 0]);
    // Nor does the next call end for it.
    const next = rig.call();
    rig.clock.advance(1_000);
    rig.child(0).answer();
    assertEquals(await plaintextOf(next), KEY);
  });
}

Deno.test("SDK pool: words that arrive before the message that a client is being made count as well", async () => {
  using rig = await started();
  rig.call();
  rig.child(0).prints(REFUSED);
  rig.child(0).phase("connecting");
  rig.clock.advance(200);
  assertEquals(rig.child(0).isKilled, true);
});

Deno.test("SDK pool: a first process that cannot open the SDK is the error of the start", async () => {
  using rig = makePool();
  const opening = rig.pool.start();
  rig.child(0).refuse({ code: "sdk_library", message: "no libraries" });
  assertEquals((await assertRejects(() => opening, SdkError, "no libraries")).code, "sdk_library");
  assertEquals([rig.child(0).isKilled, rig.children.length], [true, 1]);
});

Deno.test("SDK pool: a call before the first process has opened the SDK is made when it has", async () => {
  using rig = makePool();
  const opening = rig.pool.start();
  const result = rig.call();
  assertEquals([rig.child(0).posted.length, rig.pool.state.waiting], [1, 1]);
  rig.child(0).opened();
  rig.child(0).answer();
  assertEquals(await plaintextOf(result), KEY);
  await opening;
});

Deno.test("SDK pool: a process that does not open the SDK in time is killed", async () => {
  using rig = makePool();
  const opening = rig.pool.start();
  rig.clock.advance(1_000);
  const late = await assertRejects(() => opening, SdkError, "opening the SDK took longer than 1000 ms");
  assertEquals(late.code, "kms_timeout");
  assertEquals(rig.child(0).isKilled, true);
});

Deno.test("SDK pool: output of replaced clients is not reported as the reason of a failed call", async () => {
  using rig = await started();
  const result = rig.call();
  rig.child(0).phase("connecting");
  rig.child(0).phase("calling");
  rig.child(0).lines.add("Disconnected.; Connection failed with error aws-c-io: AWS_IO_SOCKET_CLOSED");
  rig.child(0).refuse({ code: "sdk_generic", message: "no envelope" });
  rig.clock.advance(10);
  const error = await errorOf(result);
  assertEquals([error.connection, error.message.includes("AWS_IO_SOCKET_CLOSED")], [undefined, true]);
});

Deno.test("SDK pool: what the SDK printed explains a failure also where it arrives just after the failure", async () => {
  using rig = await started();
  const result = rig.call();
  rig.child(0).phase("connecting");
  rig.child(0).refuse({ code: "sdk_kms_client", message: "no client" });
  rig.clock.advance(9);
  rig.child(0).prints("aws-c-io: AWS_IO_SOCKET_CONNECTION_REFUSED");
  rig.clock.advance(1);
  const error = await errorOf(result);
  assertEquals(error.connection, "no vsock-proxy on port 8000");
  // The words set no new deadline for a process that has answered.
  rig.clock.advance(1_000);
  assertEquals([rig.child(0).isKilled, rig.clock.pending], [false, 0]);
});

Deno.test("SDK pool: closing kills every process, refuses what waits, and leaves no timer", async () => {
  const rig = await started({ processes: 2 });
  const results = ["A", "B", "C"].map((id) => rig.call(id));
  rig.pool[Symbol.dispose]();
  rig.pool[Symbol.dispose]();
  for (const result of results) assertEquals((await errorOf(result)).code, "sdk_process");
  assertEquals((await errorOf(rig.call())).code, "sdk_process");
  assertEquals([rig.children.every(({ isKilled }) => isKilled), rig.clock.pending], [true, 0]);
});

/** A key that nobody waits for, and how many copies of it are wiped meanwhile. */
const STALE = new Uint8Array(32).fill(9);
function wipedBy(run: () => void): number {
  const { fill } = Uint8Array.prototype;
  let wiped = 0;
  Uint8Array.prototype.fill = function (...args) {
    if (this.length === STALE.length && this.every((byte) => byte === 9)) wiped++;
    return fill.apply(this, args);
  };
  try {
    run();
  } finally {
    Uint8Array.prototype.fill = fill;
  }
  return wiped;
}

Deno.test("SDK pool: an answer to an earlier request is not that of the present one, and is wiped", async () => {
  using rig = await started();
  const child = rig.child(0);
  const first = rig.call();
  const { id } = child.current;
  child.answer();
  assertEquals(await plaintextOf(first), KEY);
  const second = rig.call();
  assertEquals(wipedBy(() => child.answerTo(id, STALE)), 1);
  assert(child.sent.length > 32 && child.sent.every((byte) => byte === 0));
  child.answer();
  assertEquals(await plaintextOf(second), KEY);
});

Deno.test("SDK pool: a key that comes when nobody waits for it any more is wiped", async () => {
  using rig = await started({ deadlines: { ...DEADLINES, callMs: 60_000 } });
  const late = rig.call();
  rig.clock.advance(DEADLINES.totalMs);
  assertEquals((await errorOf(late)).code, "kms_timeout");
  assertEquals(wipedBy(() => rig.child(0).answerTo(rig.child(0).current.id, STALE)), 1);
  assert(rig.child(0).sent.length > 32 && rig.child(0).sent.every((byte) => byte === 0));
});

Deno.test("a call in a process that is being replaced is rejected at the end of the pool", async () => {
  const rig = await started({ maxClients: 1, processes: 2 });
  const first = rig.call();
  rig.child(0).answer(1);
  await plaintextOf(first);
  const second = rig.call();
  // The process that takes its place is open before it has answered.
  rig.child(2).opened();
  rig.pool[Symbol.dispose]();
  assertEquals((await errorOf(second)).message, "Cannot call KMS: the service is shutting down");
});
