/** How the workflow's processes are given requests, and what becomes of these when a process is late or ends: with scripted processes and a clock that the test controls. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { ChildEvents } from "../../../../lib/enclave/children/child.ts";
import { HEADER_LENGTH } from "../../../../lib/enclave/children/frames.ts";
import { LastLines } from "../../../../lib/enclave/children/last_lines.ts";
import {
  bytesFrame,
  HEADROOM,
  jsonFrame,
  KIND,
  partsOf,
} from "../../../../lib/enclave/session_key/workflow/messages.ts";
import { WorkflowPool } from "../../../../lib/enclave/session_key/workflow/pool.ts";
import type { LogFields } from "../../../../lib/shared/log.ts";
import { WireError } from "../../../../lib/shared/wire/messages.ts";
import { WorkflowError } from "../../../../lib/workflow_context.ts";

type Bytes = Uint8Array<ArrayBuffer>;
const NEVER = new AbortController().signal;
const DEADLINE_MS = 1_000;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A process that does what the test says. */
class FakeProcess {
  readonly lines = new LastLines();
  readonly posted: { readonly kind: number; readonly id: number; readonly text: string }[] = [];
  readonly frames: Bytes[] = [];
  isKilled = false;
  readonly pid: number;
  #events: ChildEvents;

  constructor(events: ChildEvents, pid: number) {
    this.#events = events;
    this.pid = pid;
  }

  post(frame: Bytes): void {
    const { kind, id, content } = partsOf(frame.slice(HEADER_LENGTH));
    this.frames.push(frame);
    this.posted.push({ kind, id, text: text(content) });
  }

  kill(): void {
    this.isKilled = true;
  }

  /** Requests that it was given, by their text. */
  get given(): readonly string[] {
    return this.posted.filter(({ kind }) => kind === KIND.run).map((message) => message.text);
  }

  idOf(given: string): number {
    return this.posted.find((message) => message.text === given)?.id ?? -1;
  }

  send(frame: Bytes): Bytes {
    const body = frame.slice(HEADER_LENGTH);
    this.#events.message(body);
    return body;
  }

  ready(refused = ""): void {
    this.send(jsonFrame(KIND.ready, 0, { refused }));
  }

  begins(given: string): void {
    this.send(bytesFrame(KIND.begun, this.idOf(given)));
  }

  answers(given: string, result = given.toUpperCase()): void {
    this.send(bytesFrame(KIND.result, this.idOf(given), new TextEncoder().encode(result)));
  }

  works(given: string): void {
    this.begins(given);
    this.answers(given);
  }

  ends(how = "signal SIGSEGV"): void {
    if (!this.isKilled) this.#events.ended(how);
  }
}

function start(processes = 1, { isDevelopment = false, deadlineMs = DEADLINE_MS } = {}) {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly run: () => void }>();
  const children: FakeProcess[] = [];
  const logged: [level: string, event: string, fields: LogFields | undefined][] = [];
  const pool = new WorkflowPool({
    start: (events) => {
      const child = new FakeProcess(events, children.length);
      children.push(child);
      return child;
    },
    processes,
    deadlineMs,
    settings: { memory: 1, maxResult: 1_000, requireWall: false },
    log: (level, event, fields) => void logged.push([level, event, fields]),
    isDevelopment,
    monotonic: () => now,
    after: (ms, run) => {
      const timer = { at: now + ms, run };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
  });
  pool.start();
  return {
    pool,
    children,
    logged,
    child: (index: number) => {
      const child = children[index];
      assert(child !== undefined, `there is no process ${index}`);
      return child;
    },
    allReady: () => children.forEach((child) => child.posted.length === 1 && child.ready()),
    run: (given: string, signal = NEVER) => {
      const result = pool.run(new TextEncoder().encode(given), signal).then(text);
      result.catch(() => {});
      return result;
    },
    advance: (ms: number) => {
      const until = now + ms;
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at);
        if (next === undefined) break;
        now = next.at;
        timers.delete(next);
        next.run();
      }
      now = until;
    },
    pending: () => timers.size,
    [Symbol.dispose]: () => pool[Symbol.dispose](),
  };
}

async function codeOf(result: Promise<unknown>): Promise<string> {
  const error = await assertRejects(() => result, Error);
  assert(error instanceof WireError, String(error));
  return error.code;
}

Deno.test("a request waits for the first process, and its plaintext is wiped once the workflow has begun", async () => {
  using rig = start();
  const plaintext = new Uint8Array(HEADROOM + 3).subarray(HEADROOM);
  plaintext.set([97, 98, 99]);
  const result = rig.pool.run(plaintext, NEVER);
  assertEquals(rig.child(0).given, []);
  rig.allReady();
  assertEquals(rig.child(0).given, ["abc"]);
  rig.child(0).begins("abc");
  assertEquals(plaintext.buffer.detached, true);
  rig.child(0).answers("abc");
  assertEquals(text(await result), "ABC");
});

Deno.test("a plaintext without room before it is copied and wiped at once", async () => {
  using rig = start();
  rig.allReady();
  const plaintext = new Uint8Array([97]);
  const result = rig.pool.run(plaintext, NEVER);
  result.catch(() => {});
  assertEquals([...plaintext], [0]);
  rig.child(0).works("a");
  assertEquals(text(await result), "A");
});

for (const [processes, each] of [[1, 32], [2, 16], [3, 10], [4, 8], [6, 8]] as const) {
  Deno.test(`${processes} processes are given ${each} requests each; one more is kept ready, and given nothing`, () => {
    using rig = start(processes);
    rig.allReady();
    assertEquals([rig.children.length, rig.pool.state.processes], [processes + 1, processes]);
    for (let index = 0; index < 100; index++) void rig.run(`r${index}`);
    assertEquals(rig.children.map(({ given }) => given.length), [...Array(processes).fill(each), 0]);
    assertEquals([rig.pool.state.busy, rig.pool.state.queue], [processes, 100 - processes * each]);
  });
}

Deno.test("a process that is ready later takes no place of one that works already", () => {
  using rig = start(1);
  rig.child(1).ready();
  void rig.run("first");
  rig.child(0).ready();
  void rig.run("second");
  assertEquals(rig.children.map(({ given }) => given), [[], ["first", "second"]]);
});

Deno.test("requests go to the process with the fewest, and the next one when one has ended", async () => {
  using rig = start(2);
  rig.allReady();
  const results = ["a", "b", "c"].map((given) => rig.run(given));
  assertEquals(rig.children.map(({ given }) => given), [["a", "c"], ["b"], []]);
  rig.child(1).works("b");
  rig.child(0).works("a");
  rig.child(0).works("c");
  assertEquals(await Promise.all(results), ["A", "B", "C"]);
});

Deno.test("requests that wait behind a slow one stay with its process, also when another has time", async () => {
  using rig = start(2);
  rig.allReady();
  const results = ["slow", "b", "behind", "d"].map((given) => rig.run(given));
  rig.child(0).begins("slow");
  for (const given of ["b", "d"]) rig.child(1).works(given);
  assertEquals([await results[1], await results[3]], ["B", "D"]);
  assertEquals(rig.children.map(({ given }) => given), [["slow", "behind"], ["b", "d"], []]);
});

Deno.test("a request that takes too long is answered so; others that had begun are lost; the rest goes to the process that is ready", async () => {
  using rig = start();
  rig.allReady();
  const results = ["late", "begun", "not begun"].map((given) => rig.run(given));
  rig.child(0).begins("late");
  rig.advance(1);
  rig.child(0).begins("begun");
  rig.advance(DEADLINE_MS - 1);
  assertEquals(rig.child(0).isKilled, true);
  const [late, begun, notBegun] = results;
  assertEquals(await codeOf(late ?? Promise.resolve()), "workflow_timeout");
  assertEquals(await codeOf(begun ?? Promise.resolve()), "workflow_lost");
  assertEquals([rig.child(1).given, rig.child(1).posted.length], [["not begun"], 2]);
  rig.child(1).works("not begun");
  assertEquals(await notBegun, "NOT BEGUN");
  assertEquals([rig.pool.state.killed, rig.children.length], [1, 3]);
});

Deno.test("the time counts from when the workflow began, not from when the request was handed over", async () => {
  using rig = start();
  rig.allReady();
  const [first, second] = [rig.run("first"), rig.run("second")];
  rig.child(0).begins("first");
  rig.advance(900);
  rig.child(0).answers("first");
  rig.child(0).begins("second");
  rig.advance(900);
  rig.child(0).answers("second");
  assertEquals(await Promise.all([first, second]), ["FIRST", "SECOND"]);
  rig.advance(10 * DEADLINE_MS);
  assertEquals(rig.pool.state.killed, 0);
});

for (const deadlineMs of [10, 250, DEADLINE_MS]) {
  Deno.test(`a workflow that may take ${deadlineMs} ms is ended then and not before, whenever it began`, () => {
    using rig = start(1, { deadlineMs });
    rig.allReady();
    void rig.run("late");
    rig.advance(37);
    rig.child(0).begins("late");
    rig.advance(deadlineMs - 1);
    assertEquals(rig.child(0).isKilled, false);
    rig.advance(1);
    assertEquals(rig.child(0).isKilled, true);
  });
}

Deno.test("a process that ends loses what had begun and nothing else", async () => {
  using rig = start();
  rig.allReady();
  const [begun, notBegun] = [rig.run("begun"), rig.run("not begun")];
  rig.child(0).begins("begun");
  rig.child(0).ends();
  assertEquals(await codeOf(begun), "workflow_lost");
  rig.child(1).works("not begun");
  assertEquals(await notBegun, "NOT BEGUN");
  assertEquals(rig.pool.state.lost, 1);
});

for (
  const [what, frame] of [
    ["an answer to a request that it was not given", bytesFrame(KIND.result, 99)],
    ["an answer to a request that had not begun", bytesFrame(KIND.result, 2)],
    ["a kind of message that there is not", bytesFrame(77, 99)],
    ["a second beginning", bytesFrame(KIND.begun, 1)],
    ["the message of a start", bytesFrame(KIND.ready, 0)],
  ] as const
) {
  Deno.test(`a process that sends ${what} is ended, and other requests are answered rightly`, async () => {
    using rig = start();
    rig.allReady();
    const [first, second] = [rig.run("first"), rig.run("second")];
    rig.child(0).begins("first");
    rig.child(0).send(frame);
    assertEquals(rig.child(0).isKilled, true);
    assertEquals(await codeOf(first), "workflow_lost");
    rig.child(1).works("second");
    assertEquals(await second, "SECOND");
  });
}

Deno.test("a request that nobody waits for any more is taken from the queue, and a process is told of it", async () => {
  using rig = start();
  rig.allReady();
  const abandoned = new AbortController();
  const running = rig.run("running", abandoned.signal);
  rig.child(0).begins("running");
  const queued = [...Array(32).keys()].map((index) => rig.run(`q${index}`, abandoned.signal));
  assertEquals(rig.pool.state.queue, 1);
  abandoned.abort();
  rig.advance(100);
  for (const result of [running, ...queued]) {
    assertEquals((await assertRejects(() => result, Error)).message, "The workflow did not end in time");
  }
  assertEquals(rig.pool.state.queue, 0);
  assertEquals(rig.child(0).posted.filter(({ kind }) => kind === KIND.abandon).length, 32);
  // What comes of it is wiped.
  const late = rig.child(0).send(bytesFrame(KIND.result, rig.child(0).idOf("running"), new Uint8Array([1])));
  assertEquals([...late].every((byte) => byte === 0), true);
  for (let index = 0; index < 31; index++) {
    rig.child(0).send(bytesFrame(KIND.dropped, rig.child(0).idOf(`q${index}`)));
  }
  const next = rig.run("next");
  rig.child(0).works("next");
  assertEquals(await next, "NEXT");
});

Deno.test("a refusal has the workflow's code and words; any other error is a line in the log", async () => {
  using rig = start();
  rig.allReady();
  const [refused, failed] = [rig.run("refused"), rig.run("failed")];
  rig.child(0).begins("refused");
  rig.child(0).send(
    jsonFrame(KIND.refused, rig.child(0).idOf("refused"), { code: "too_large", words: "At most 10" }),
  );
  rig.child(0).begins("failed");
  const fault = { class: "TypeError", message: "words with data", stack: "at x" };
  rig.child(0).send(jsonFrame(KIND.failed, rig.child(0).idOf("failed"), fault));
  const error = await assertRejects(() => refused, WorkflowError, "At most 10");
  assertEquals(error.code, "too_large");
  assertEquals(await codeOf(failed), "internal_error");
  assertEquals(rig.logged.at(-1), ["error", "workflow_threw", { request_id: "2", class: "TypeError" }]);
});

Deno.test("a line that a process sends for the log is of its own kind, whatever it says", () => {
  using rig = start();
  rig.allReady();
  rig.child(0).send(jsonFrame(KIND.log, 0, {
    level: "shout",
    event: "seen",
    fields: { workflow_event: "forged", said: "forged", level: "forged", n: 1, object: {} },
  }));
  rig.child(0).send(bytesFrame(KIND.log, 0, new TextEncoder().encode("no JSON")));
  assertEquals(rig.logged, [
    ["info", "workflow", { n: 1, object: "[object Object]", said: "forged", workflow_event: "seen" }],
    ["info", "workflow", { workflow_event: "undefined" }],
  ]);
});

Deno.test("a workflow that cannot be loaded refuses requests at once, and is tried again", async () => {
  using rig = start();
  const waiting = rig.run("waiting");
  for (const child of [...rig.children]) {
    child.send(jsonFrame(KIND.unusable, 0, { message: "no such package", hint: "add it" }));
  }
  assertEquals(await codeOf(waiting), "workflow_lost");
  assertEquals(await codeOf(rig.run("later")), "workflow_lost");
  assertEquals(rig.pool.state.problem, "The workflow cannot be run: no such package");
  rig.advance(60_000);
  rig.children.at(-1)?.ready();
  const works = rig.run("works");
  rig.children.at(-1)?.works("works");
  assertEquals(await works, "WORKS");
});

Deno.test("a wall that the kernel refused in part is one line in the log", () => {
  using rig = start(2);
  for (const child of rig.children) child.ready("setresuid: EPERM");
  assertEquals(rig.logged, [["warn", "workflow_wall_incomplete", { refused: "setresuid: EPERM" }]]);
});

Deno.test("at its end the processes are ended, and what waits is answered", async () => {
  const rig = start();
  rig.allReady();
  const results = ["a", "b"].map((given) => rig.run(given));
  rig.child(0).begins("a");
  rig.pool[Symbol.dispose]();
  for (const result of results) assertEquals(await codeOf(result), "workflow_lost");
  assertEquals([rig.children.every(({ isKilled }) => isKilled), rig.pending()], [true, 0]);
  assertEquals(await codeOf(rig.run("c")), "busy");
});

Deno.test("a process that begins nothing is ended, and another one does its work", async () => {
  using rig = start();
  rig.allReady();
  const [first, second] = [rig.run("first"), rig.run("second")];
  rig.child(0).works("first");
  // The workflow took the thread after it had answered, such as in a timer.
  rig.advance(4_999);
  assertEquals(rig.child(0).isKilled, false);
  rig.advance(1);
  assertEquals(rig.child(0).isKilled, true);
  rig.child(1).works("second");
  assertEquals(await Promise.all([first, second]), ["FIRST", "SECOND"]);
});

Deno.test("an idle process that is given a request and does not begin it is ended", async () => {
  using rig = start();
  rig.allReady();
  rig.advance(60_000);
  const result = rig.run("a");
  rig.advance(5_000);
  rig.child(1).works("a");
  assertEquals(await result, "A");
});

Deno.test("the plaintext of a request that nobody waits for is wiped when its process ends", async () => {
  using rig = start();
  rig.allReady();
  void rig.run("running");
  rig.child(0).begins("running");
  const abandoned = new AbortController();
  const result = rig.run("secret", abandoned.signal);
  abandoned.abort();
  rig.advance(100);
  await assertRejects(() => result, Error, "did not end in time");
  rig.child(0).ends();
  assertEquals(rig.child(0).given, ["running", "secret"]);
  assertEquals(rig.child(0).frames.slice(1, 3).map(({ buffer }) => buffer.detached), [true, true]);
});
