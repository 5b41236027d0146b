/** What a workflow process does with its messages, without a process: the pipes and the walls are the test's. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FrameReader, HEADER_LENGTH } from "../../../../lib/enclave/children/frames.ts";
import {
  bytesFrame,
  jsonFrame,
  jsonOf,
  KIND,
  partsOf,
  type WorkflowSettings,
} from "../../../../lib/enclave/session_key/workflow/messages.ts";
import {
  runWorkflowProcess,
  type WorkflowProcessPorts,
} from "../../../../lib/enclave/session_key/workflow/process.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { type Workflow, WorkflowError } from "../../../../lib/workflow_context.ts";
import { within } from "../../../helpers/deadline.ts";

type Bytes = Uint8Array<ArrayBuffer>;
const SETTINGS: WorkflowSettings = { memory: 1, maxResult: 100, requireWall: true };
const KINDS = Object.fromEntries(Object.entries(KIND).map(([name, kind]) => [kind, name]));
const request = (id: number, text = "abc") => bytesFrame(KIND.run, id, new TextEncoder().encode(text));
const isWiped = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

/** Runs a process until its stdin ends. Console and the listeners for errors are this file's own, in a thread of its own. */
function rig(workflow: Workflow, ports: Partial<WorkflowProcessPorts> = {}) {
  const stdin = new TransformStream<Uint8Array, Uint8Array>();
  const writer = stdin.writable.getWriter();
  const chunks = stdin.readable.getReader();
  const sent: { readonly kind: string; readonly id: number; readonly text: string }[] = [];
  const reader = new FrameReader(10_000);
  const take = (bytes: Uint8Array) => {
    for (const { kind, id, content } of [...reader.push(bytes.slice())].map(partsOf)) {
      sent.push({ kind: KINDS[kind] ?? "unknown", id, text: new TextDecoder().decode(content) });
    }
    return bytes.length;
  };
  const own = { ...console };
  const ended = runWorkflowProcess({
    stdin: {
      read: async (into) => {
        const { value, done } = await chunks.read();
        if (!done) into.set(value);
        return done ? null : value.length;
      },
    },
    stdout: { writeSync: take },
    confine: () => [],
    load: () => Promise.resolve({ workflow }),
    exit: () => {
      throw new Error("it ended itself");
    },
    ...ports,
  });
  ended.catch(() => {});
  return {
    sent,
    /** Sends in one write. */
    send: (...frames: readonly Bytes[]) =>
      void writer.write(new Uint8Array(frames.flatMap((frame) => [...frame]))).catch(() => {}),
    /** Ends stdin, and waits for the end. */
    end: async () => {
      void writer.close().catch(() => {});
      try {
        await within(ended, "the end of the process");
        // What settles after the end of stdin is sent too.
        await new Promise((resolve) => setTimeout(resolve, 5));
      } finally {
        Object.assign(console, own);
      }
      return sent.map(({ kind, id }) => `${kind} ${id}`);
    },
  };
}

const open = (settings: Partial<WorkflowSettings> = {}) =>
  jsonFrame(KIND.open, 0, { ...SETTINGS, ...settings });

Deno.test("requests begin one after the other, in order, and a result that is ready leaves before the next one begins", async () => {
  const leftBefore: string[][] = [];
  const one = rig((plaintext) => {
    leftBefore.push(one.sent.map(({ kind, id }) => `${kind} ${id}`));
    return plaintext;
  });
  one.send(open(), request(1), request(2));
  assertEquals(await one.end(), ["ready 0", "begun 1", "result 1", "begun 2", "result 2"]);
  assertEquals(leftBefore, [["ready 0", "begun 1"], ["ready 0", "begun 1", "result 1", "begun 2"]]);
});

Deno.test("one that returned a promise goes on while the next one works", async () => {
  const gate = Promise.withResolvers<void>();
  const one = rig((plaintext, { requestId }) => {
    if (requestId === "1") return gate.promise.then(() => plaintext);
    gate.resolve();
    return plaintext;
  });
  one.send(open(), request(1), request(2));
  assertEquals(await one.end(), ["ready 0", "begun 1", "begun 2", "result 2", "result 1"]);
});

Deno.test("no more than eight have begun and not ended; the next one begins when one of them has ended", async () => {
  const gates = [...Array(10).keys()].map(() => Promise.withResolvers<void>());
  const begun: string[] = [];
  const eight = Promise.withResolvers<void>();
  const one = rig(async (plaintext, { requestId }) => {
    if (begun.push(requestId) === 8) eight.resolve();
    await gates[Number(requestId)]?.promise;
    return plaintext;
  });
  one.send(open(), ...[...gates.keys()].map((id) => request(id)));
  await within(eight.promise, "eight beginnings");
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(begun, ["0", "1", "2", "3", "4", "5", "6", "7"]);
  gates[3]?.resolve();
  while (begun.length === 8) await within(new Promise((resolve) => setTimeout(resolve, 0)), "a turn");
  assertEquals(begun.slice(8), ["8"]);
  for (const { resolve } of gates) resolve();
  const results = (await one.end()).filter((line) => line.startsWith("result"));
  assertEquals([results.length, results[0]], [10, "result 3"]);
});

const WAYS: Readonly<Record<string, (plaintext: Bytes) => unknown>> = {
  returns: (plaintext) => plaintext.slice(),
  "returns a promise": (plaintext) => Promise.resolve(plaintext.slice()),
  throws: () => {
    throw new Error("fault");
  },
  rejects: () => Promise.reject(new Error("fault")),
  "returns text": () => "text",
  "returns nothing": () => undefined,
  "returns null": () => null,
  "returns too much": () => new Uint8Array(SETTINGS.maxResult + 1),
};
for (const [how, way] of Object.entries(WAYS)) {
  Deno.test(`the plaintext, and what it is answered with, are wiped when the workflow ${how}`, async () => {
    const seen: Uint8Array[] = [];
    const one = rig((plaintext) => {
      seen.push(plaintext);
      const result = way(plaintext);
      void Promise.resolve(result).then(
        (bytes) => bytes instanceof Uint8Array && bytes.length <= SETTINGS.maxResult && seen.push(bytes),
        () => {},
      );
      return result as Bytes;
    });
    one.send(open(), request(1));
    const answer = how.startsWith("returns") && !/text|nothing|null|too/.test(how) ? "result 1" : "failed 1";
    assertEquals(await one.end(), ["ready 0", "begun 1", answer]);
    assertEquals(seen.map(isWiped), seen.map(() => true));
    assertEquals(seen.length, answer === "result 1" ? 2 : 1);
  });
}

Deno.test("a refusal has its code and words; of other errors the class is what the class says, and never a text", async () => {
  const one = rig((plaintext) => {
    const text = new TextDecoder().decode(plaintext);
    if (text === "refuse") throw new WorkflowError("too_large", "At most 10");
    throw Object.assign(new TypeError(text), { name: text });
  });
  one.send(open(), request(1, "refuse"), request(2, "PIN=4711"), request(3, "QuotaError"));
  await one.end();
  const told = one.sent.filter(({ kind }) => ["refused", "failed"].includes(kind)).map(({ text }) =>
    JSON.parse(text)
  );
  assertEquals(told[0], { code: "too_large", words: "At most 10" });
  assertEquals(told.slice(1).map((fault) => fault["class"]), ["Error", "QuotaError"]);
});

Deno.test("a request that was abandoned before it began is dropped, and one that has begun sees its signal", async () => {
  const signals: AbortSignal[] = [];
  const one = rig((plaintext, { signal }) => {
    signals.push(signal);
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(plaintext)));
  });
  one.send(open(), request(1), request(2), bytesFrame(KIND.abandon, 2));
  one.send(bytesFrame(KIND.abandon, 1));
  assertEquals(await one.end(), ["ready 0", "begun 1", "dropped 2", "result 1"]);
  assertEquals(signals.map(({ aborted }) => aborted), [true]);
});

Deno.test("both walls are up before the workflow is loaded", async () => {
  const steps: string[] = [];
  const one = rig((plaintext) => plaintext, {
    confine: ({ memory }) => (steps.push(`confine ${memory}`), []),
    load: () => (steps.push("load"), Promise.resolve({ workflow: (plaintext) => plaintext })),
  });
  one.send(open());
  await one.end();
  assertEquals(steps, ["confine 1", "load"]);
});

for (const requireWall of [true, false]) {
  Deno.test(`where the wall is ${requireWall ? "" : "not "}required, a workflow behind a part of it is ${requireWall ? "never loaded" : "loaded, which is said"}`, async () => {
    let loaded = false;
    const one = rig((plaintext) => plaintext, {
      confine: () => ["setresuid: EPERM"],
      load: () => (loaded = true, Promise.resolve({ workflow: (plaintext) => plaintext })),
    });
    one.send(open({ requireWall }));
    assertEquals(await one.end(), [requireWall ? "unusable 0" : "ready 0"]);
    assertEquals(loaded, !requireWall);
    assertStringIncludes(one.sent[0]?.text ?? "", "setresuid: EPERM");
  });
}

Deno.test("a workflow that cannot be loaded is said to be unusable, with the reason", async () => {
  for (
    const load of [() => Promise.reject(new TypeError("no such package")), () => Promise.resolve({})] as const
  ) {
    const one = rig((plaintext) => plaintext, { load: load as WorkflowProcessPorts["load"] });
    one.send(open());
    assertEquals(await one.end(), ["unusable 0"]);
    assert(/no such package|exports no function/.test(one.sent[0]?.text ?? ""));
  }
});

for (
  const [what, ports] of [
    ["the service has ended and nothing can be sent any more", {
      stdout: {
        writeSync: () => {
          throw new Deno.errors.BrokenPipe("Broken pipe");
        },
      },
    }],
    ["the service had ended before the wall was up", {
      confine: () => {
        throw new EnclaveError("it has ended", { code: "parent_ended" });
      },
    }],
  ] as const
) {
  Deno.test(`a workflow process ends itself when ${what}`, async () => {
    const exited = Promise.withResolvers<void>();
    const one = rig((plaintext) => plaintext, {
      ...ports,
      exit: () => {
        exited.resolve();
        throw new Error("it ended itself");
      },
    });
    one.send(open());
    await within(exited.promise, "the exit");
    await one.end().catch(() => {});
  });
}

Deno.test("what a workflow prints and logs is a line for the log, cut to a length, and never a part of the protocol", async () => {
  const one = rig((plaintext, { log }) => {
    console.log("seen", { n: 1 }, "x".repeat(5_000));
    log("warn", "own", { text: "y".repeat(5_000), n: 1 });
    log("shout" as never, {} as never, "none" as never);
    return plaintext;
  });
  one.send(open(), request(1));
  await one.end();
  const lines = one.sent.filter(({ kind }) => kind === "log").map(({ text }) =>
    jsonOf(new TextEncoder().encode(text)) as {
      readonly level: string;
      readonly event: string;
      readonly fields: { readonly text?: string };
    }
  );
  assertEquals(lines.map(({ level, event }) => `${level} ${event}`), [
    "info console",
    "warn own",
    "shout [object Object]",
  ]);
  assertStringIncludes(lines[0]?.fields.text ?? "", "seen { n: 1 } xxx");
  assert(lines.every(({ fields }) => (fields.text?.length ?? 0) <= 1_000));
});

Deno.test("an empty plaintext is a request too, and its frame has a header and a prefix", async () => {
  const one = rig((plaintext) => plaintext);
  const frame = request(1, "");
  assertEquals(frame.length, HEADER_LENGTH + 9);
  one.send(open(), frame);
  assertEquals(await one.end(), ["ready 0", "begun 1", "result 1"]);
});
