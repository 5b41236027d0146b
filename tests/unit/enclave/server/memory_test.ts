/** The memory budget: a waiting request holds little, and a request that would need too much is refused. */
import { type Aead, NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { Connection } from "../../../../lib/enclave/server/connection.ts";
import type { Answer } from "../../../../lib/enclave/server/feature.ts";
import type { Handler } from "../../../../lib/enclave/server/dispatch.ts";
import { type Limits } from "../../../../lib/shared/cli/limits.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import {
  createMemory,
  requestCost,
  type ServiceMemory,
} from "../../../../lib/enclave/server/memory_budget.ts";
import { Metrics } from "../../../../lib/enclave/server/metrics.ts";
import { SessionKeyService } from "../../../../lib/enclave/session_key/session_key.ts";
import { encodeMessage, type Framing } from "../../../../lib/shared/wire/framing.ts";
import { dropFields, WireError, type WireObject } from "../../../../lib/shared/wire/messages.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { within } from "../../../helpers/deadline.ts";
import { Peer } from "../../../helpers/duplex.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { configureOn, plainSession } from "../../../helpers/wallet_rig.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OK: Answer = { type: "x", reply: { status: "ok" } };
const LIMITS: Limits = { ...DEFAULT_LIMITS, maxMessage: 200_000 };

interface Served {
  readonly peer: Peer;
  readonly serving: Promise<void>;
}

function serve(memory: ServiceMemory, handler: Handler, framing: Framing = "u32be"): Served {
  const peer = new Peer(framing);
  const connection = new Connection(1, peer.stream, {
    handler,
    limits: LIMITS,
    memory,
    transport: "tcp",
    log: () => {},
    metrics: new Metrics(),
    now: () => 0,
    turnEnd: () => Promise.resolve(),
  });
  return { peer, serving: connection.serve() };
}

async function end({ peer, serving }: Served): Promise<void> {
  peer.end();
  await within(serving, "the end of the connection");
}

const filler = (length: number) => ({ text: "a".repeat(length) });

Deno.test("a message that does not fit beside those that are arriving is answered busy, and those are served", async () => {
  const memory = createMemory(2 * 260_000);
  const first = serve(memory, () => OK);
  const message = encodeMessage("u32be", filler(190_000));
  first.peer.send(message.subarray(0, 180_000));
  await first.peer.allRead();
  const second = serve(memory, () => OK);
  second.peer.send(message.subarray(0, 180_000));
  assertEquals((await second.peer.receive())?.["msg"], "busy");
  await end(second);
  first.peer.send(message.subarray(180_000));
  // Seven times its length is more than half of this budget: which of the two limits it was is said by the code.
  assertEquals((await first.peer.receive())?.["msg"], "message_too_large");
  await end(first);
  assertEquals([memory.buffers.used, memory.requests.used], [0, 0]);
});

Deno.test("a request that does not fit beside those under way is answered busy, and is taken when they are done", async () => {
  const request = filler(10_000);
  const cost = requestCost(JSON.stringify(request).length, { depth: 1, tokens: 11 });
  const memory = createMemory(2 * Math.floor(1.5 * cost));
  const done = Promise.withResolvers<Answer>();
  const first = serve(memory, () => done.promise);
  first.peer.send(request);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(memory.requests.used, cost);
  const second = serve(memory, () => OK);
  second.peer.send(request);
  assertEquals((await second.peer.receive())?.["msg"], "busy");
  done.resolve(OK);
  assertEquals((await first.peer.receive())?.["status"], "ok");
  second.peer.send(request);
  assertEquals((await second.peer.receive())?.["status"], "ok");
  await end(first);
  await end(second);
});

/** Sends a request to a service with little memory, and counts how often anything is decoded and parsed until the reply arrives. */
async function refused(request: WireObject): Promise<Readonly<Record<string, number | boolean>>> {
  const memory = createMemory(2 * 50_000);
  const one = serve(memory, () => OK);
  const { decode } = TextDecoder.prototype;
  const { parse } = JSON;
  let [decoded, parsed] = [0, 0];
  TextDecoder.prototype.decode = function (...args) {
    decoded++;
    return decode.apply(this, args);
  };
  JSON.parse = (...args) => {
    parsed++;
    return parse(...args);
  };
  const reply = new Uint8Array(1024);
  try {
    one.peer.send(request);
    await one.peer.read(reply);
  } finally {
    TextDecoder.prototype.decode = decode;
    JSON.parse = parse;
  }
  const { used } = memory.requests;
  await end(one);
  return { decoded, parsed, used, tooLarge: new TextDecoder().decode(reply).includes("message_too_large") };
}

Deno.test("a message whose bytes do not fit into the memory is not decoded", async () => {
  assertEquals(await refused(filler(10_000)), { decoded: 0, parsed: 0, used: 0, tooLarge: true });
});

Deno.test("a message whose values do not fit into the memory is not parsed", async () => {
  const values = { x: Array.from({ length: 1_000 }, () => ({})) };
  assertEquals(await refused(values), { decoded: 1, parsed: 0, used: 0, tooLarge: true });
});

for (const framing of ["u32be", "u64le", "raw"] as const) {
  Deno.test(`a ${framing} message that does not fit into the memory is refused, and its connection serves on`, async () => {
    const one = serve(createMemory(2 * 50_000), () => OK, framing);
    for (const large of [filler(10_000), { x: Array.from({ length: 1_000 }, () => ({})) }]) {
      one.peer.send(large);
      assertEquals((await one.peer.receive())?.["msg"], "message_too_large");
      one.peer.send({});
      assertEquals((await one.peer.receive())?.["status"], "ok");
    }
    await end(one);
  });
}

Deno.test("a request that has taken its fields holds no memory while it waits, neither its values nor its bytes", async () => {
  const memory = createMemory(64 * 2 ** 20);
  const done = Promise.withResolvers<Answer>();
  const asked = Promise.withResolvers<WireObject>();
  const one = serve(memory, (request, _signal, dropped) => {
    dropFields(request);
    dropped?.();
    asked.resolve(request);
    return done.promise;
  });
  one.peer.send({ x: Array.from({ length: 30_000 }, () => ({})) });
  assertEquals(await within(asked.promise, "the request"), {});
  assertEquals([memory.requests.used, memory.buffers.used <= 16 * 1024], [0, true]);
  done.resolve(OK);
  await one.peer.receive();
  await end(one);
});

function slowSession(aead: Aead = NODE_AEAD): {
  readonly session: SessionKeyService;
  readonly answer: () => void;
  readonly kms: FakeKms;
} {
  const answered = Promise.withResolvers<void>();
  const kms = new FakeKms(async () => {
    await answered.promise;
    return new Uint8Array(32).fill(1);
  });
  const session = plainSession({ kms, aead, keys: [parseKeyArn(ARN)] });
  return { session, kms, answer: answered.resolve };
}

const configure = (): WireObject => ({
  type: "configure",
  encrypted_tsk: encodeBase64(new Uint8Array(8)),
  aws_access_key_id: "AKID",
  aws_secret_access_key: "secret",
  x: [{}, {}],
});

Deno.test("eight configures wait for KMS, the ninth is busy, and later ones are taken again", async () => {
  const { session, answer } = slowSession();
  using _ = session;
  const waiting = Array.from({ length: 8 }, () => configureOn(session, configure()));
  try {
    await configureOn(session, configure());
    throw new Error("the ninth was taken");
  } catch (thrown) {
    assert(thrown instanceof WireError);
    assertEquals(thrown.code, "busy");
  }
  answer();
  for (const reply of await Promise.all(waiting)) assertEquals(reply["status"], "ok");
  assertEquals((await configureOn(session, configure()))["status"], "ok");
});

Deno.test("a configure that was answered timeout never takes effect: neither while KMS works on it, nor while it waits for its turn", async () => {
  const { session, kms, answer } = slowSession();
  using _ = session;
  const abandoned = new AbortController();
  const inKms = configureOn(session, configure(), { signal: abandoned.signal });
  const inQueue = configureOn(session, configure(), { signal: abandoned.signal });
  for (const turn of [inKms, inQueue]) turn.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 0));
  abandoned.abort();
  answer();
  for (const result of await Promise.allSettled([inKms, inQueue])) {
    assertEquals(result.status === "rejected" && result.reason.code, "abandoned");
  }
  assertEquals([session.state.configured, kms.asked.length], [false, 1]);
  await configureOn(session, configure());
  assertEquals(session.state.configured, true);
});

Deno.test("a key that KMS gave for a configure that was answered timeout is wiped", async () => {
  const keys = { made: 0, wiped: 0 };
  const { session, answer } = slowSession({
    ...NODE_AEAD,
    newKey: (raw) => {
      const key = NODE_AEAD.newKey(raw);
      keys.made++;
      return {
        seal: (into, what) => key.seal(into, what),
        open: (into, what) => key.open(into, what),
        [Symbol.dispose]: () => {
          keys.wiped++;
          key[Symbol.dispose]();
        },
      };
    },
  });
  using _ = session;
  const abandoned = new AbortController();
  const asked = configureOn(session, configure(), { signal: abandoned.signal });
  asked.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 0));
  abandoned.abort();
  answer();
  await asked.catch(() => {});
  assertEquals(keys, { made: 1, wiped: 1 });
});
