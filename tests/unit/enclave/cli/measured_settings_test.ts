/** Settings from the command line to the service that runs with them: each is attacked over its socket. */
import { NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { hashConfiguration } from "../../../../lib/shared/attestation/statement.ts";
import { parseOptions, UsageError } from "../../../../lib/shared/cli/options.ts";
import { openFeatures } from "../../../../lib/enclave/features.ts";
import { type RunIo, runService } from "../../../../lib/enclave/cli/run.ts";
import {
  FEATURES,
  measuredConfiguration,
  readServeConfig,
  SERVE_OPTIONS,
} from "../../../../lib/shared/cli/serve_options.ts";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { inProcess } from "../../../../lib/dev/in_process_workflow.ts";
import { Client } from "../../../../lib/ctl/client/client.ts";
import { importPublicKey } from "../../../../lib/shared/sealed/hpke.ts";
import { hashPublicKey } from "../../../../lib/shared/sealed/message.ts";
import { sealRequest } from "../../../../lib/shared/sealed/seal_request.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import { REQUESTS, WALLET_REQUESTS } from "../../../../lib/shared/wire/protocol.ts";
import { errorReply, type WireObject } from "../../../../lib/shared/wire/messages.ts";
import { parseAddress } from "../../../../lib/shared/wire/address.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { testPorts } from "../../../helpers/ports.ts";
import { within } from "../../../helpers/deadline.ts";

const CREDENTIAL = { AccessKeyId: "AKID", SecretAccessKey: "secret", Token: "token" };
const TSK = new Uint8Array(32).fill(7);
const CONTEXT = { app: "denclave", purpose: "tsk" };
const CLIENT_KEY = encodeBase64(new Uint8Array(32).fill(9));

/** The service as its entry runs it, over the local KMS and a simulated NSM. */
async function start(argv: readonly string[], io: Pick<RunIo, "memory" | "isDevelopment" | "clock"> = {}) {
  const kms = await LocalKms.open({ region: "us-east-1" });
  const [keyArn = ""] = kms.keyArns;
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  const listening = Promise.withResolvers<string>();
  const signal = Promise.withResolvers<string>();
  const flags = ["--listen=tcp:127.0.0.1:0", "--drain-ms=100", `--kms-key=${keyArn}`, ...argv];
  const config = readServeConfig(parseOptions(SERVE_OPTIONS, flags));
  const running = runService(config, {
    events: new EventLog({
      level: "info",
      write: (line) => {
        const event = JSON.parse(line);
        if (event.event === "listening") listening.resolve(event.address);
      },
    }),
    signalled: signal.promise,
    features: (ports) => openFeatures({ ...config, workflows: inProcess((plaintext) => plaintext) }, ports),
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: nsm,
    aead: NODE_AEAD,
    selfTest: () => Promise.resolve([]),
    ...io,
    kms,
  });
  const client = await Client.connect(parseAddress(await within(listening.promise, "the listener")), {
    timeoutMs: 10_000,
  });
  /** The code of the reply; `ok` when there is none. */
  const code = async (request: WireObject) => {
    const reply = await client.exchange(request);
    return reply["msg"] !== undefined && reply["status"] === "error" ? reply["msg"] : "ok";
  };
  const configure = async (epoch?: number, context: Record<string, string> = CONTEXT) => ({
    type: "configure",
    encrypted_tsk: encodeBase64(
      await kms.encrypt(keyArn, TSK, epoch === undefined ? context : { ...context, epoch: String(epoch) }),
    ),
    credential: { ...CREDENTIAL },
    ...(epoch === undefined ? {} : { epoch }),
  });
  return {
    config,
    client,
    code,
    configure,
    kms,
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      signal.resolve("SIGTERM");
      await within(running, "the end of the service");
      nsm[Symbol.dispose]();
    },
  };
}
type Started = Awaited<ReturnType<typeof start>>;

async function account({ client }: Started): Promise<WireObject> {
  const { content } = await client.exchange({
    apiRequest: "generateAccount",
    credential: CREDENTIAL,
    name: "alice",
  }) as unknown as { content: WireObject };
  return { apiRequest: "sign", credential: { ...CREDENTIAL }, ...content };
}

function blob(text: string): string {
  using key = new SealingKey(SecretBytes.copyOf(TSK), { random: HOST_RANDOM.fill });
  return encodeHex(key.seal(new TextEncoder().encode(text)));
}

const TX = { chainId: 1, nonce: 0, gasLimit: 21_000, gasPrice: 1, value: 5 };
const FRIEND = "0x5aAeb6053F3E94c9b9A09f33669435E7Ef1BeAed".toLowerCase();
const transfer = (more: object) => ({ ...TX, to: FRIEND, ...more });

/** A setting, what it is to refuse and how, and the code of the same request where it is not set. */
const SETTINGS: readonly {
  readonly argv: readonly string[];
  readonly attack: (service: Started) => Promise<unknown>;
  readonly refused: string;
  readonly otherwise: string;
}[] = [
  {
    argv: ["--tsk-context=app=another"],
    attack: async ({ code, configure }) => await code(await configure()),
    refused: "kms_decrypt_failed",
    otherwise: "ok",
  },
  {
    argv: ["--configure-once"],
    attack: async ({ code, configure }) => {
      await code(await configure());
      return await code(await configure());
    },
    refused: "already_configured",
    otherwise: "ok",
  },
  {
    argv: ["--require-epoch"],
    attack: async ({ code, configure }) => await code(await configure()),
    refused: "missing_fields",
    otherwise: "ok",
  },
  {
    argv: ["--min-tsk-epoch=6"],
    attack: async ({ code, configure }) => await code({ ...await configure(), epoch: 5 }),
    refused: "row_rejected",
    otherwise: "ok",
  },
  {
    argv: ["--bind-process"],
    attack: async ({ code, configure }) => {
      await code(await configure());
      return await code({ type: "process", ciphertext: blob("x") });
    },
    refused: "binding_required",
    otherwise: "ok",
  },
  {
    argv: ["--require-sealed"],
    attack: ({ code }) => code({ type: "logs" }),
    refused: "sealed_required",
    otherwise: "ok",
  },
  {
    argv: [`--client-key=${CLIENT_KEY}`],
    attack: async ({ client, code }) => await code((await sealed(client)).message),
    refused: "client_not_allowed",
    otherwise: "ok",
  },
  {
    argv: ["--min-epoch=2"],
    attack: async ({ client }) => {
      const reply = await client.exchange({
        type: "master_key.verify",
        enclave_id: 1,
        credential: { ...CREDENTIAL },
        kms_encrypted_dek: encodeBase64(new Uint8Array(64)),
        encrypted_private_key: encodeBase64(new Uint8Array(60)),
        public_key: encodeBase64(new Uint8Array(33)),
        key_epoch: 1,
      });
      return String(reply["details"]).split(" (")[0];
    },
    refused: "Cannot trust key_epoch 1: at least 2 is wanted here",
    otherwise: "Cannot trust kms_encrypted_dek, or the enclave_id that it is bound to",
  },
  ...([
    ["--wallet-chain=137", { transaction: transfer({}) }],
    ["--wallet-recipient=0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", { transaction: transfer({}) }],
    [
      "--wallet-call=0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359:0xa9059cbb",
      { transaction: transfer({ data: "0xa9059cbb" }) },
    ],
    ["--wallet-max-value=21004", { transaction: transfer({}) }],
    [
      "--wallet-verifying-contract=0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359:Order",
      { digest: "00".repeat(32) },
    ],
    ["--wallet-message-prefix=Sign in", { message: "sign in" }],
  ] as const).map(([flag, payload]) => ({
    argv: [flag],
    attack: async (service: Started) => await service.code({ ...await account(service), ...payload }),
    refused: "guard_refused",
    otherwise: "ok",
  })),
  {
    argv: ["--max-message=1000"],
    attack: ({ code }) => code({ type: "ping", x: "x".repeat(2_000) }),
    refused: "message_too_large",
    otherwise: "ok",
  },
  {
    argv: ["--max-message=1000000", "--max-in-flight=14000000"],
    attack: ({ code }) => code({ type: "ping", x: Array.from({ length: 100_000 }, () => ({})) }),
    refused: "message_too_large",
    otherwise: "ok",
  },
];

/** A sealed request. */
async function sealed(client: Client, request: WireObject = { type: "ping" }) {
  const reply = await client.exchange({ type: "attest", nonce: encodeBase64(new Uint8Array(16)) });
  const publicKey = decodeBase64(String(reply["public_key"]));
  const name = {
    keyHash: await hashPublicKey(publicKey),
    clientId: crypto.getRandomValues(new Uint8Array(16)),
    counter: 1,
  };
  const at = Date.now();
  const { enc, ciphertext, openReply } = await sealRequest(
    await importPublicKey(publicKey),
    new TextEncoder().encode(JSON.stringify(request)),
    { ...name, times: { sessionStarted: at, sealedAt: at, expiresAt: at + 60_000 } },
  );
  const message = {
    type: "sealed",
    key_id: encodeBase64(name.keyHash),
    client_id: encodeBase64(name.clientId),
    counter: name.counter,
    enc: encodeBase64(enc),
    ciphertext: encodeBase64(ciphertext),
  };
  return { message, openReply };
}

for (const { argv, attack, refused, otherwise } of SETTINGS) {
  Deno.test(`${argv.map((flag) => flag.split("=")[0]).join(" ")} reaches the service, which refuses what it forbids`, async () => {
    await using strict = await start(argv);
    assertEquals(await attack(strict), refused);
    await using open = await start([]);
    assertEquals(await attack(open), otherwise);
  });
}

for (const [argv, times] of [[[], 1], [["--clock=nsm"], 1], [["--clock=kernel"], 0]] as const) {
  Deno.test(`a service with ${argv[0] ?? "no --clock"} sets its clock ${times} times, and shows the difference`, async () => {
    using nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
    const set: number[] = [];
    let passed = 0;
    const clock = {
      nsm,
      // Reading it takes no time, whatever else this machine does.
      monotonic: () => passed++,
      now: () => new Date(Date.now() + 90_000),
      set: (time: number) => (set.push(time), undefined),
    };
    await using service = await start(argv, { clock });
    assertEquals(set.length, times);
    for (const type of ["health", "metrics"] as const) {
      const { clock_difference_ms } = await service.client.request({ type });
      assertEquals(Math.round(Number(clock_difference_ms) / 10_000), 9);
    }
  });
}

/** The requests of each feature, as its routes name them. */
const FEATURE_REQUESTS: Readonly<Record<string, readonly WireObject[]>> = Object.fromEntries(
  openFeatures(
    {
      ...readServeConfig(parseOptions(SERVE_OPTIONS, [])),
      workflows: inProcess((plaintext) => plaintext),
    },
    testPorts({ kms: new FakeKms(() => Promise.reject(new Error("unused"))) }),
  ).map((feature) => {
    const none = () => ({ type: "none", reply: errorReply("internal_error", "unused") });
    const types = Object.keys({ ...feature.routes, ...feature.outerRoutes?.(none) });
    const apiRequests = Object.keys(feature.apiRoutes ?? {});
    return [feature.name, [
      ...types.map((route) => {
        const [type, purpose] = route.split(" ");
        return purpose === undefined ? { type } : { type, purpose };
      }),
      ...apiRequests.map((apiRequest) => ({ apiRequest })),
    ]];
  }),
);
const OWN_REQUESTS = ["ping", "health", "logs", "metrics"];
/** The fields of `health` that each has. */
const HEALTH_FIELDS: Readonly<Record<string, readonly string[]>> = {
  session_key: ["configured", "workflow"],
  wallet: ["wallet"],
  master_key: ["master_key"],
  sealed: [],
  receipts: [],
};

Deno.test("every request of the protocol is one of a feature, or of the server", () => {
  const named = Object.values(FEATURE_REQUESTS).flat().map(({ type, apiRequest }) => type ?? apiRequest);
  assertEquals(
    [...new Set([...named, ...OWN_REQUESTS])].sort(),
    [...Object.keys(REQUESTS), ...Object.keys(WALLET_REQUESTS)].sort(),
  );
  assertEquals(Object.keys(FEATURE_REQUESTS), [...FEATURES]);
});

for (const feature of FEATURES) {
  Deno.test(`without ${feature} in --features its requests are answered feature_off, sealed or not, and health has nothing of it`, async () => {
    const others = FEATURES.filter((name) => name !== feature);
    await using service = await start([`--features=${others.join(",")}`]);
    const off = FEATURE_REQUESTS[feature] ?? [];
    for (const request of off) {
      const reply = await service.client.exchange(request);
      assertEquals([reply["msg"], String(reply["details"]).includes(feature)], ["feature_off", true]);
      assertEquals(reply["apiResponse"], feature === "wallet" ? "errorResponse" : undefined);
      if (feature === "sealed") continue;
      const { message, openReply } = await sealed(service.client, request);
      const { ciphertext } = await service.client.exchange(message);
      const opened = await openReply(decodeBase64(String(ciphertext)));
      assertEquals(JSON.parse(new TextDecoder().decode(opened)).msg, "feature_off");
    }
    const health = await service.client.exchange({ type: "health" });
    for (const name of FEATURES) {
      for (const field of HEALTH_FIELDS[name] ?? []) assertEquals(field in health, name !== feature, field);
      for (const request of name === feature ? [] : FEATURE_REQUESTS[name] ?? []) {
        assertNotEquals((await service.client.exchange(request))["msg"], "feature_off");
      }
    }
    assertEquals(JSON.stringify(health["warnings"]).includes("--features"), false);
  });
}

Deno.test("without --features everything is served, which health warns of, but not in development", async () => {
  for (const isDevelopment of [false, true]) {
    await using service = await start([], { isDevelopment });
    for (const request of Object.values(FEATURE_REQUESTS).flat()) {
      assertNotEquals((await service.client.exchange(request))["msg"], "feature_off");
    }
    const { warnings } = await service.client.request({ type: "health" });
    assertEquals(warnings.some((warning) => warning.includes("--features (FEATURES)")), !isDevelopment);
  }
});

Deno.test("without --tsk-context a session key must have been wrapped as one", async () => {
  await using service = await start([]);
  const { code, configure } = service;
  assertEquals(await code(await configure(undefined, {})), "kms_decrypt_failed");
  assertEquals(
    await code(await configure(undefined, { app: "denclave", purpose: "wallet", name: "a" })),
    "kms_decrypt_failed",
  );
  assertEquals(await code(await configure()), "ok");
});

for (
  const [of, context, dataKeyOf] of [
    [
      "an account's",
      "app=denclave,purpose=wallet,name=alice",
      async (service: Started) => (await account(service))["encryptedDataKey"],
    ],
    [
      "the master key's",
      "enclave_id=1,purpose=master,app=denclave",
      async ({ client }: Started) =>
        (await client.exchange({ type: "master_key.init", enclave_id: 1, credential: { ...CREDENTIAL } }))[
          "kms_encrypted_dek"
        ],
    ],
  ] as const
) {
  Deno.test(`--tsk-context may not be ${of} context, under which a stored data key would open as a session key`, async () => {
    await using service = await start([]);
    const wrapped = decodeBase64(String(await dataKeyOf(service)));
    using credentials = Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "s", sessionToken: "" });
    using opened = await service.kms.decrypt({ region: "us-east-1", credentials }, {
      ciphertext: wrapped,
      context: Object.fromEntries(context.split(",").map((pair) => pair.split("="))),
    });
    assertEquals(opened.length, TSK.length);
    for (const more of [[], ["--require-epoch"]]) {
      assertThrows(
        () => readServeConfig(parseOptions(SERVE_OPTIONS, [`--tsk-context=${context}`, ...more])),
        UsageError,
        `--tsk-context ${context}`,
      );
    }
  });
}

Deno.test("the configuration hash in the reply is that of the settings that the service runs with", async () => {
  const told: unknown[] = [];
  for (const argv of [[], ["--require-sealed"]]) {
    await using service = await start(argv);
    const reply = await service.client.exchange({ type: "attest", nonce: encodeBase64(new Uint8Array(16)) });
    told.push(reply["configuration_hash"]);
    const expected = await hashConfiguration(measuredConfiguration(service.config));
    assertEquals(reply["configuration_hash"], encodeBase64(expected));
  }
  assertNotEquals(told[0], told[1]);
});

Deno.test("the machine's memory decides on the memory for messages, and does not change the configuration hash", async () => {
  const memory = 480 * 2 ** 20;
  await using small = await start([], { memory });
  const health = await small.client.request({ type: "health" });
  assertEquals([health.memory_total, Math.floor(health.memory_budget / 2 ** 20), health.warnings.length], [
    memory,
    100,
    3,
  ]);
  const reply = await small.client.exchange({ type: "attest", nonce: encodeBase64(new Uint8Array(16)) });
  const expected = await hashConfiguration(measuredConfiguration(small.config));
  assertEquals(reply["configuration_hash"], encodeBase64(expected));
});
