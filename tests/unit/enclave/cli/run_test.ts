/** What both entries do: run the service until it is told to end, and say why it could not. */
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import { NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { parseOptions } from "../../../../lib/shared/cli/options.ts";
import { type RunIo, runService } from "../../../../lib/enclave/cli/run.ts";
import { readServeConfig, SERVE_OPTIONS } from "../../../../lib/shared/cli/serve_options.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { within } from "../../../helpers/deadline.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";

const config = (listen: string) =>
  readServeConfig(parseOptions(SERVE_OPTIONS, ["--listen", listen, "--drain-ms", "100"]));

function start(listen = "tcp:127.0.0.1:0", io: Partial<RunIo> = {}) {
  const kms = new FakeKms(() => Promise.reject(new Error("unused")));
  const events: Record<string, unknown>[] = [];
  const listening = Promise.withResolvers<string>();
  const signal = Promise.withResolvers<string>();
  const running = runService(config(listen), {
    events: new EventLog({
      level: config(listen).logLevel,
      write: (line) => {
        const event = JSON.parse(line);
        events.push(event);
        if (event.event === "listening") listening.resolve(event.address);
      },
    }),
    signalled: signal.promise,
    features: () => [],
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    aead: NODE_AEAD,
    selfTest: () => Promise.resolve([]),
    kms,
    ...io,
  });
  return {
    kms,
    events,
    signal: signal.resolve,
    listening: () => within(listening.promise, "the listener"),
    ended: () => within(running, "the end of the service"),
  };
}

/** A KMS that a test opens, or fails to. */
function opening() {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const kms = Object.assign(new FakeKms(() => Promise.reject(new Error("unused"))), { opened: promise });
  return { kms, resolve, reject };
}

Deno.test("a KMS that cannot be opened ends the service with its error, and is disposed of", async () => {
  const { kms, reject } = opening();
  const { events, listening, ended } = start(undefined, { kms });
  await listening();
  const failure = new EnclaveError("no libraries", { code: "sdk_library" });
  reject(failure);
  assertEquals(await assertRejects(ended, EnclaveError), failure);
  assertEquals([kms.disposed, events.at(-1)?.["event"]], [true, "stopped"]);
});

/** 192.0.2.0/24 is for documentation (RFC 5737): no host has it. */
Deno.test("if the service cannot listen, the KMS is disposed of and no permission has been revoked", async () => {
  let gaveUp = false;
  const { kms, ended } = start("tcp:192.0.2.1:0", { onListening: () => gaveUp = true });
  assertEquals((await assertRejects(ended, EnclaveError)).code, "listen_failed");
  assertEquals([kms.disposed, gaveUp], [true, false]);
});

Deno.test("permissions are given up once the listener is open, before a client is served", async () => {
  const order: string[] = [];
  const { listening, signal, ended } = start(undefined, { onListening: () => order.push("given up") });
  await listening();
  assertEquals(order, ["given up"]);
  signal("SIGINT");
  await ended();
});
