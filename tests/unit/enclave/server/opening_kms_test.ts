/** A service whose KMS is still opening: what it answers at once, what waits, and what it says when the KMS is open. */
import { assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { NSM_GENERATOR } from "../../../../lib/enclave/server/entropy.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { within } from "../../../helpers/deadline.ts";
import { MemoryAcceptor } from "../../../helpers/duplex.ts";
import { startTestService } from "../../../helpers/test_service.ts";
import { countCalls, CREDENTIAL } from "../../../helpers/wallet_rig.ts";

/** A service over a KMS that is attested, and open when the test says so. */
async function openingService(kernelGenerator?: string) {
  const local = await LocalKms.open({ region: "us-east-1" });
  const opened = Promise.withResolvers<void>();
  let entropySeeded: boolean | undefined;
  const kms = {
    ...countCalls(local, true),
    opened: opened.promise,
    get entropySeeded() {
      return entropySeeded;
    },
    [Symbol.asyncDispose]: () => {
      opened.reject(new Error("the service is ending"));
      return Promise.resolve();
    },
  };
  kms.opened.catch(() => {});
  const acceptor = new MemoryAcceptor();
  const service = startTestService({
    kms,
    acceptor,
    keys: local.keyArns.map(parseKeyArn),
    entropy: { kernelGenerator, random: HOST_RANDOM },
    attester: { attest: () => Promise.resolve(new Uint8Array(1)) },
  });
  return {
    peer: () => acceptor.connect(),
    /** Sends a request; a ping of another client is answered while it waits. */
    ask: async (request: WireObject) => {
      const [peer, other] = [acceptor.connect(), acceptor.connect()];
      peer.send(request);
      other.send({ type: "ping" });
      assertEquals((await other.receive())?.["msg"], "pong");
      return peer;
    },
    open: (isSeeded: boolean) => {
      entropySeeded = isSeeded;
      opened.resolve();
    },
    fail: () => opened.reject(new Error("no SDK")),
    stop: () => within(service.stop(1_000), "the end of the service"),
  };
}

const NONCE = encodeBase64(new Uint8Array(16).fill(7));
/** Requests that make a key, and how their replies say that they have. */
const MAKING: readonly (readonly [what: string, request: WireObject, field: string])[] = [
  ["generateAccount", { apiRequest: "generateAccount", credential: CREDENTIAL, name: "a" }, "content"],
  [
    "master_key.init",
    { type: "master_key.init", credential: CREDENTIAL, enclave_id: "a" },
    "newly_generated",
  ],
  ["attest", { type: "attest", nonce: NONCE }, "public_key"],
];

for (const [what, request, field] of MAKING) {
  Deno.test(`${what} waits for the KMS to open, and makes a key if the kernel's pool was seeded`, async () => {
    const service = await openingService();
    const peer = await service.ask(request);
    service.open(true);
    assertEquals(field in (await peer.receive() ?? {}), true);
    await service.stop();
  });

  Deno.test(`${what} is refused once the KMS is open, if the kernel's pool was not seeded`, async () => {
    const service = await openingService();
    const peer = await service.ask(request);
    service.open(false);
    assertEquals((await peer.receive())?.["msg"], "entropy_not_trusted");
    await service.stop();
  });

  Deno.test(`${what} is refused if the KMS cannot be opened`, async () => {
    const service = await openingService();
    const peer = await service.ask(request);
    service.fail();
    assertEquals((await peer.receive())?.["msg"], "entropy_not_trusted");
    await service.stop();
  });
}

Deno.test("attest does not wait for the KMS where the kernel's own generator is the NSM's", async () => {
  const service = await openingService(NSM_GENERATOR);
  const peer = service.peer();
  peer.send({ type: "attest", nonce: NONCE });
  assertEquals((await peer.receive())?.["status"], "ok");
  await service.stop();
});

for (const [isSeeded, count] of [[true, 0], [false, 1]] as const) {
  Deno.test(`health warns of a missing seeding once the KMS is open: ${count} times if ${isSeeded}`, async () => {
    const service = await openingService();
    const peer = service.peer();
    const warnings = async () => {
      peer.send({ type: "health" });
      return ((await peer.receive())?.["warnings"] as string[]).filter((text) => text.includes("entropy"))
        .length;
    };
    assertEquals(await warnings(), 0);
    service.open(isSeeded);
    assertEquals(await warnings(), count);
    await service.stop();
  });
}
