/** The service as a whole, with a fake KMS and connections in memory: its warnings, and what remains when it ends. */
import { VERSION } from "../../../../lib/shared/version.ts";
import type { EncryptionContext } from "../../../../lib/shared/aws/kms_limits.ts";
import { TSK_CONTEXT } from "../../../../lib/shared/aws/tsk_context.ts";
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { sdkError } from "../../../../ffi/errors.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { Client } from "../../../../lib/ctl/client/client.ts";
import { type WalletGuards } from "../../../../lib/shared/cli/wallet_options.ts";
import { NO_GUARDS } from "../../../../lib/dev/defaults.ts";
import { countCalls, CREDENTIAL, KmsRefusal } from "../../../helpers/wallet_rig.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import type { ServiceOptions } from "../../../../lib/enclave/server/start.ts";
import { NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { encodeMessage } from "../../../../lib/shared/wire/framing.ts";
import { within } from "../../../helpers/deadline.ts";
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

function setup(
  options: {
    readonly keys?: string[];
    readonly attested?: boolean;
    readonly context?: EncryptionContext | undefined;
    readonly verifyingContracts?: WalletGuards["verifyingContracts"];
  } & Partial<Pick<ServiceOptions, "aead" | "selfTest">> = {},
) {
  const { keys = [ARN], attested = true, context: given, verifyingContracts = [], ...more } = options;
  const context = "context" in options ? given : TSK_CONTEXT;
  const raw = new Uint8Array(32).fill(0xa5);
  const kms = new FakeKms(() => Promise.resolve(raw), attested);
  const acceptor = new MemoryAcceptor();
  const events = new EventLog({ write: () => {}, level: "info" });
  const service = startTestService({
    ...more,
    kms,
    acceptor,
    events,
    keys: keys.map(parseKeyArn),
    context,
    wallet: { guards: { ...NO_GUARDS, verifyingContracts }, cache: { entries: 0, maxAgeMs: 0 } },
  });
  return { raw, kms, acceptor, events, service };
}

async function ask(peer: Peer, request: Record<string, unknown>) {
  peer.send(request);
  return await peer.receive();
}

Deno.test("a service that ends answers first, disposes of the KMS, and logs it", async () => {
  const { raw, kms, acceptor, events, service } = setup();
  const peer = acceptor.connect();
  assertEquals((await ask(peer, CONFIGURE))?.["msg"], "configured");
  assertEquals(raw, new Uint8Array(32));
  await within(service.stop(1_000), "the end of the service");
  assertEquals([kms.disposed, acceptor.closed], [true, true]);
  assertEquals(events.recent(10).map(({ event }) => event), ["configured", "draining", "stopped"]);
  assertEquals(await peer.receiveAll(), []);
});

const ALLOWANCES = [
  "Permit",
  "PermitSingle",
  "PermitBatch",
  "TransferWithAuthorization",
  "DelegationWithSig",
];

function typed(...primaryTypes: readonly string[]): WalletGuards["verifyingContracts"] {
  return primaryTypes.map((primaryType) => ({ contract: "0xA", primaryType }));
}

const WARNINGS: readonly (readonly [string, Parameters<typeof setup>[0], RegExp | undefined])[] = [
  ["an attested KMS with a key", {}, undefined],
  ["an attested KMS without a key", { keys: [] }, /no KMS key is allowed/],
  ["a session key without an EncryptionContext", { context: undefined }, /--tsk-context none/],
  ["a development KMS", { attested: false }, /development KMS/],
  ["typed data that is not named like an allowance", { verifyingContracts: typed("Order") }, undefined],
  [
    "typed data that is named like an allowance",
    { verifyingContracts: typed("Order", ...ALLOWANCES) },
    new RegExp(`not checked: ${ALLOWANCES.map((name) => `0xA:${name}`).join(", ")}$`),
  ],
];
for (const [what, options, words] of WARNINGS) {
  Deno.test(`${what} is ${words === undefined ? "nothing to warn of" : "warned of, in the log and in health"}`, async () => {
    const { acceptor, events, service } = setup(options);
    const health = await ask(acceptor.connect(), { type: "health" });
    const warnings = health?.["warnings"] as string[];
    const logged = events.recent(10).filter(({ event }) => event === "configuration");
    assertEquals([warnings.length, logged.length], words === undefined ? [0, 0] : [1, 1]);
    if (words !== undefined) {
      assert(words.test(warnings[0] ?? "") && words.test(String(logged[0]?.["warning"])));
    }
    assertEquals([health?.["version"], health?.["connections"]], [VERSION, 1]);
    await within(service.stop(0), "the end of the service");
  });
}

Deno.test("health runs the self-test every time, and names the implementation of AES-256-GCM", async () => {
  let memory = 100;
  const { acceptor, service } = setup({
    selfTest: () => Promise.resolve([{ check: "memory", seen: `${memory} MiB left` }]),
    aead: { ...NODE_AEAD, name: "AWS-LC" },
  });
  const peer = acceptor.connect();
  for (const left of [100, 50]) {
    memory = left;
    const health = await ask(peer, { type: "health" });
    assertEquals([health?.["self_test"], health?.["aead"], health?.["log_lines_dropped"]], [
      [{ check: "memory", seen: `${left} MiB left` }],
      "AWS-LC",
      0,
    ]);
  }
  await within(service.stop(1_000), "the end of the service");
});

Deno.test("a configure that KMS denies empties the wallet's cache, and a time-out does not", async () => {
  const local = await LocalKms.open({ region: "us-east-1" });
  const kms = countCalls(local, true);
  await using service = startTestService({
    kms: { ...kms, entropySeeded: true },
    keys: local.keyArns.map(parseKeyArn),
    wallet: { guards: NO_GUARDS, cache: { entries: 4, maxAgeMs: 60_000 } },
  });
  using client = await Client.connect(service.address);
  const made = await client.exchange({
    apiRequest: "generateAccount",
    credential: CREDENTIAL,
    name: "alice",
  });
  const sign = { ...made["content"] as object, apiRequest: "sign", credential: CREDENTIAL, message: "a" };
  const asked = async () => {
    const before = kms.calls.decrypt;
    assertEquals((await client.exchange({ ...sign }))["apiResponse"], "signResponse");
    return kms.calls.decrypt - before;
  };
  const configureWith = async (failure: Error) => {
    kms.fail = failure;
    await client.exchange({ ...CONFIGURE });
    kms.fail = undefined;
  };
  assertEquals([await asked(), await asked()], [1, 0]);
  await configureWith(sdkError("kms_timeout", "m", { symbol: "s" }));
  assertEquals(await asked(), 0);
  await configureWith(new KmsRefusal("AccessDeniedException"));
  assertEquals([await asked(), await asked()], [1, 0]);
});

for (const framing of ["u32be", "u64le", "raw"] as const) {
  Deno.test(`${framing}: a client that reads to the end has its replies once it has closed its side`, async () => {
    await using service = startTestService({ kms: new FakeKms(() => Promise.reject(new Error("unused"))) });
    using connection = await Deno.connect(service.address);
    for (let n = 0; n < 3; n++) await connection.write(encodeMessage(framing, { type: "ping" }));
    await connection.closeWrite();
    const text = await within(new Response(connection.readable).text(), "the end of the stream");
    assertEquals(text.split('"msg":"pong"').length - 1, 3);
  });
}
