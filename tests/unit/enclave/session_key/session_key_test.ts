/** The session key service behind its dispatcher, with a fake KMS. */
import { Buffer } from "node:buffer";
import { testHandler, testPorts } from "../../../helpers/ports.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { SEAL_LIMITS, SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { EnclaveError, processData } from "../../../../lib/ctl/client/process.ts";
import { processBinding } from "../../../../lib/shared/wire/process_binding.ts";
import { type Aead, type AeadKey, NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { type Ports, PreparedReply } from "../../../../lib/enclave/server/feature.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import {
  type SessionKeyOptions,
  SessionKeyService,
} from "../../../../lib/enclave/session_key/session_key.ts";
import { inProcess } from "../../../../lib/dev/in_process_workflow.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { within } from "../../../helpers/deadline.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { configureOn, plainMasterKey, plainSession, plainWallet } from "../../../helpers/wallet_rig.ts";
import { isWiped } from "../../../helpers/new_secret_key.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const SECRET = "NEVER-SEEN";
const TSK = new Uint8Array(32).fill(0xa5);
const CONFIGURE = {
  type: "configure",
  encrypted_tsk: encodeBase64(new Uint8Array([1, 2, 3])),
  aws_access_key_id: "AKID",
  aws_secret_access_key: SECRET,
  aws_session_token: SECRET,
};

interface Setup {
  readonly kms: FakeKms;
  readonly session: SessionKeyService;
  readonly events: EventLog;
  readonly ask: (request: WireObject) => Promise<WireObject>;
}

function setup(options: Partial<SessionKeyOptions & Ports> & { readonly kms?: FakeKms } = {}): Setup {
  const kms = options.kms ?? new FakeKms(() => Promise.resolve(new Uint8Array(TSK)));
  const events = new EventLog({ write: () => {}, level: "debug" });
  const ports = testPorts({
    keys: [parseKeyArn(ARN)],
    log: events.log,
    now: () => new Date("2026-01-02T03:04:05Z"),
    ...options,
    kms,
  });
  const session = plainSession({ ...options, ...ports });
  const handler = testHandler([session, plainWallet(ports), plainMasterKey(ports)], ports, events);
  const ask = async (request: WireObject) => {
    const { reply } = await handler({ ...request });
    return reply instanceof PreparedReply
      ? JSON.parse(reply.json.map((piece) => typeof piece === "string" ? piece : encodeHex(piece)).join(""))
      : reply as WireObject;
  };
  return { kms, session, events, ask };
}

async function sealed(plaintext: Uint8Array, raw = TSK): Promise<string> {
  using key = new SealingKey(SecretBytes.copyOf(raw), { random: HOST_RANDOM.fill });
  return encodeHex(await key.seal(plaintext));
}

Deno.test("configure asks KMS for the allowed key in its region, and answers as the guide says", async () => {
  const { kms, ask } = setup();
  assertEquals(await ask(CONFIGURE), {
    status: "ok",
    msg: "configured",
    timestamp: "2026-01-02T03:04:05.000Z",
  });
  const [asked] = kms.asked;
  assertEquals([asked?.region, asked?.accessKeyId, asked?.request.keyId, asked?.request.context], [
    "us-east-1",
    "AKID",
    ARN,
    undefined,
  ]);
});

Deno.test("the measured EncryptionContext goes with the call, and a request cannot change it", async () => {
  const { kms, ask } = setup({ context: { app: "denclave" } });
  await ask({ ...CONFIGURE, context: { app: "other" }, encryption_context: {} });
  assertEquals(kms.asked[0]?.request.context, { app: "denclave" });
});

const REFUSALS: readonly (readonly [string, WireObject, string])[] = [
  ["a type that is missing", {}, "missing_fields"],
  ["a type that is unknown", { type: "nonsense" }, "unknown_type"],
  ["a type that is no string", { type: 5 }, "unknown_type"],
  ["a type that every object has", { type: "constructor" }, "unknown_type"],
  ["process before configure", { type: "process", ciphertext: "00" }, "not_configured"],
];
for (const [what, request, code] of REFUSALS) {
  Deno.test(`${what} is answered ${code}`, async () => {
    const { ask, kms } = setup();
    const reply = await ask(request);
    assertEquals([reply["status"], reply["msg"]], ["error", code]);
    assert(typeof reply["details"] === "string" && reply["details"] !== "");
    assertEquals(kms.asked, []);
  });
}

for (const length of [0, 16, 31, 33]) {
  Deno.test(`a TSK of ${length} bytes is refused, and the old one stays`, async () => {
    let answer = new Uint8Array(TSK);
    const { ask } = setup({ kms: new FakeKms(() => Promise.resolve(answer)) });
    await ask(CONFIGURE);
    const wrong = answer = new Uint8Array(length).fill(1);
    const reply = await ask(CONFIGURE);
    assertEquals(reply["msg"], "kms_decrypt_failed");
    assertStringIncludes(String(reply["details"]), "exactly 32 bytes");
    assertEquals(wrong.every((byte) => byte === 0), true);
    assertEquals(
      (await ask({ type: "process", ciphertext: await sealed(new Uint8Array(3)) }))["status"],
      "ok",
    );
  });
}

/** `node:crypto`, with the number of keys that are in memory. */
class CountingAead implements Aead {
  readonly name = "counting";

  keys = 0;

  newKey(raw: Uint8Array<ArrayBuffer>): AeadKey {
    const key = NODE_AEAD.newKey(raw);
    this.keys++;
    return {
      seal: (out, input) => key.seal(out, input),
      open: (out, input) => key.open(out, input),
      [Symbol.dispose]: () => {
        key[Symbol.dispose]();
        this.keys--;
      },
    };
  }
}

Deno.test("a rotation lets a request in flight end with the old key, then wipes it", async () => {
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  let raw = new Uint8Array(TSK);
  const aead = new CountingAead();
  const { ask } = setup({
    aead,
    kms: new FakeKms(() => Promise.resolve(raw)),
    workflows: inProcess(async (plaintext) => (await gate, plaintext)),
  });
  const old = raw;
  await ask(CONFIGURE);
  assertEquals(old, new Uint8Array(32));
  const inFlight = ask({ type: "process", ciphertext: await sealed(new Uint8Array([1])) });
  raw = new Uint8Array(32).fill(9);
  await ask(CONFIGURE);
  assertEquals(aead.keys, 2);
  open();
  assertEquals((await inFlight)["status"], "ok");
  assertEquals(aead.keys, 1);
  assertEquals(
    (await ask({ type: "process", ciphertext: await sealed(new Uint8Array([1])) }))["msg"],
    "decrypt_failed",
  );
});

Deno.test("a rotation wipes the old key at once where no request uses it", async () => {
  const aead = new CountingAead();
  const { ask } = setup({ aead, kms: new FakeKms(() => Promise.resolve(new Uint8Array(TSK))) });
  await ask(CONFIGURE);
  await ask({ type: "process", ciphertext: await sealed(new Uint8Array([1])) });
  await ask(CONFIGURE);
  assertEquals(aead.keys, 1);
});

Deno.test("the key is wiped when the service ends, and what KMS gave as soon as it is taken", async () => {
  const raw = new Uint8Array(TSK);
  const aead = new CountingAead();
  const { ask, session } = setup({ aead, kms: new FakeKms(() => Promise.resolve(raw)) });
  await ask(CONFIGURE);
  assertEquals([raw, aead.keys], [new Uint8Array(32), 1]);
  session[Symbol.dispose]();
  assertEquals(aead.keys, 0);
  assertEquals((await ask({ type: "process", ciphertext: "00" }))["msg"], "not_configured");
});

Deno.test("a workflow that fails releases its key", async () => {
  const aead = new CountingAead();
  const { ask } = setup({
    aead,
    kms: new FakeKms(() => Promise.resolve(new Uint8Array(TSK))),
    workflows: inProcess(() => Promise.reject(new Error("no"))),
  });
  await ask(CONFIGURE);
  const ciphertext = await sealed(new Uint8Array([1, 2, 3]));
  assertEquals((await ask({ type: "process", ciphertext }))["msg"], "internal_error");
  await ask(CONFIGURE);
  assertEquals(aead.keys, 1);
});

Deno.test("--configure-once refuses the second key, without asking KMS", async () => {
  const { ask, kms } = setup({ configureOnce: true });
  await ask(CONFIGURE);
  assertEquals([(await ask(CONFIGURE))["msg"], kms.asked.length], ["already_configured", 1]);
});

Deno.test("--require-epoch requires an increasing epoch, and binds it", async () => {
  const { ask, kms } = setup({ requireEpoch: true, context: { app: "denclave" } });
  assertEquals((await ask(CONFIGURE))["msg"], "missing_fields");
  assertEquals((await ask({ ...CONFIGURE, epoch: 5 }))["msg"], "configured");
  assertEquals((await ask({ ...CONFIGURE, epoch: 5 }))["msg"], "already_configured");
  assertEquals((await ask({ ...CONFIGURE, epoch: 4 }))["msg"], "already_configured");
  assertEquals((await ask({ ...CONFIGURE, epoch: 6 }))["msg"], "configured");
  assertEquals(kms.asked.map(({ request }) => request.context), [{ app: "denclave", epoch: "5" }, {
    app: "denclave",
    epoch: "6",
  }]);
});

Deno.test("with an attested KMS and no allowed key, every configure is refused; a development KMS accepts any key", async () => {
  assertEquals((await setup({ keys: [] }).ask(CONFIGURE))["msg"], "key_not_allowed");
  const development = setup({
    keys: [],
    kms: new FakeKms(() => Promise.resolve(new Uint8Array(TSK)), false),
  });
  assertEquals((await development.ask({ ...CONFIGURE, region: "eu-west-1" }))["msg"], "configured");
  assertEquals(development.kms.asked[0]?.region, "eu-west-1");
});

Deno.test("no reply or event contains a secret", async () => {
  const { ask, events } = setup();
  const replies = [
    await ask(CONFIGURE),
    await ask({ ...CONFIGURE, encrypted_tsk: "***" }),
    await ask({ type: "health" }),
    await ask({ type: "metrics" }),
    await ask({ type: "logs" }),
  ];
  const told = JSON.stringify([replies, events.recent(500)]);
  for (const hidden of [SECRET, encodeHex(TSK), encodeBase64(TSK), "    at "]) {
    assertEquals(told.includes(hidden), false);
  }
});

const B = ARN.replace("1234abcd", "bbbbbbbb");
const EU = ARN.replace("us-east-1", "eu-west-1");
const SELECTED: readonly (readonly [string, readonly string[], WireObject, string | undefined])[] = [
  ["the only key", [ARN], {}, ARN],
  ["by ARN", [ARN, B], { kms_key_id: B }, B],
  ["by the id at an ARN's end", [ARN, B], { kms_key_id: B.slice(-36) }, B],
  ["by key_id, the field's other name", [ARN, B], { key_id: B }, B],
  ["by its region", [ARN, EU], { region: "eu-west-1" }, EU],
  ["by neither, where two are allowed", [ARN, B], {}, undefined],
  ["an alias", [ARN], { kms_key_id: "alias/mine" }, undefined],
  [
    "a key of the parent's own",
    [ARN],
    { kms_key_id: ARN.replace("111122223333", "999999999999") },
    undefined,
  ],
  ["a region of the parent's own", [ARN], { region: "us-east-1.evil.example" }, undefined],
];
for (const [what, keys, fields, expected] of SELECTED) {
  Deno.test(`configure that asks for ${what} ${expected === undefined ? "is refused" : "gets it, in its own region"}`, async () => {
    const { ask, kms } = setup({ keys: keys.map(parseKeyArn) });
    const reply = await ask({ ...CONFIGURE, ...fields });
    assertEquals(reply["msg"], expected === undefined ? "key_not_allowed" : "configured");
    assertEquals(
      kms.asked.map(({ region, request }) => [region, request.keyId]),
      expected === undefined ? [] : [[parseKeyArn(expected).region, expected]],
    );
  });
}

Deno.test("the measured region selects among several keys when the request says none", async () => {
  const { ask, kms } = setup({ keys: [ARN, EU].map(parseKeyArn), region: "eu-west-1" });
  assertEquals([(await ask(CONFIGURE))["msg"], kms.asked[0]?.request.keyId], ["configured", EU]);
});

Deno.test("after a restart, an older wrapped session key is refused by a measured least epoch, and KMS is not asked", async () => {
  const configured = { ...CONFIGURE, epoch: 5 };
  const before = setup({ requireEpoch: true, minTskEpoch: 5 });
  assertEquals((await before.ask(configured))["msg"], "configured");
  // After the restart the held epoch is lost; only the measured minimum remains.
  const after = setup({ minTskEpoch: 5 });
  const refused = await after.ask({ ...CONFIGURE, epoch: 4 });
  assertEquals([refused["msg"], String(refused["details"]).includes("at least 5"), after.kms.asked.length], [
    "row_rejected",
    true,
    0,
  ]);
  assertEquals((await after.ask(CONFIGURE))["msg"], "missing_fields");
  assertEquals((await after.ask(configured))["msg"], "configured");
});

Deno.test("the workflow's result is wiped once it is sealed", async () => {
  for (const size of [10, 20_000]) {
    const seen: Uint8Array<ArrayBuffer>[] = [];
    const workflows = (ports: Ports) => {
      const run = (plaintext: Uint8Array<ArrayBuffer>) => (seen.push(plaintext), plaintext);
      return { ...inProcess((plaintext) => plaintext)(ports), run };
    };
    const { ask } = setup({ workflows });
    await ask(CONFIGURE);
    await ask({ type: "process", ciphertext: await sealed(new Uint8Array(size).fill(7)) });
    assertEquals(seen.map(({ buffer }) => buffer.detached), [true]);
  }
});

Deno.test("a dry run's workflow may return a Buffer, which shares its memory with others", async () => {
  const { ask } = setup({ workflows: inProcess(() => Buffer.from("one")) });
  const other = Buffer.from("other");
  await ask(CONFIGURE);
  assertEquals((await ask({ type: "process", ciphertext: await sealed(new Uint8Array(1)) }))["status"], "ok");
  assertEquals([`${other}`, `${Buffer.from("next")}`], ["other", "next"]);
});

Deno.test("the credentials of a request are wiped when its configure is done, also when it failed", async () => {
  for (const fails of [false, true]) {
    const held: Uint8Array[] = [];
    const kms = new FakeKms(() => Promise.resolve(new Uint8Array(fails ? 5 : 32)));
    const decrypt = kms.decrypt.bind(kms);
    kms.decrypt = (access, request) => {
      held.push(...Object.values(access.credentials.expose()));
      return decrypt(access, request);
    };
    await setup({ kms }).ask(CONFIGURE);
    assertEquals(held.map((bytes) => [bytes.length > 0, bytes.every((byte) => byte === 0)]), [
      [true, true],
      [true, true],
      [true, true],
    ]);
  }
});

Deno.test("the credentials of a configure that is refused before it waits are wiped too", async () => {
  const { fromStrings } = Credentials;
  const made: Credentials[] = [];
  Credentials.fromStrings = (strings) => {
    const credentials = fromStrings(strings);
    made.push(credentials);
    return credentials;
  };
  try {
    const { ask } = setup({ configureOnce: true });
    const requests = [
      { ...CONFIGURE, kms_key_id: "another" },
      { ...CONFIGURE, encrypted_tsk: "%" },
      CONFIGURE,
      CONFIGURE,
    ];
    const replies = [];
    for (const request of requests) replies.push((await ask(request))["msg"]);
    assertEquals(replies, ["key_not_allowed", "missing_fields", "configured", "already_configured"]);
    assertEquals(made.map(isWiped), [true, true, true, true]);
  } finally {
    Credentials.fromStrings = fromStrings;
  }
});

Deno.test("logs give the newest events, as many as asked for, and never more than 500", async () => {
  const { ask, events } = setup();
  for (let n = 0; n < 600; n++) events.log("error", `e${n}`);
  const count = async (request: WireObject) =>
    ((await ask({ type: "logs", ...request }))["events"] as unknown[]).length;
  assertEquals([await count({ limit: 3 }), await count({}), await count({ limit: 10_000 })], [3, 100, 500]);
  for (const limit of [-1, 1.5, "5"]) {
    assertEquals((await ask({ type: "logs", limit }))["msg"], "missing_fields");
  }
});

Deno.test("every reply has a status, and every error a code and a text, without a stack or a path", async () => {
  const failing = setup({
    kms: new FakeKms(() => Promise.reject(new TypeError(`${SECRET} at file:///lib/x.ts:1:1`))),
  });
  const working = setup({
    workflows: inProcess(() => {
      throw new Error(`${SECRET} at file:///lib/x.ts:1:1`);
    }),
  });
  await working.ask(CONFIGURE);
  const replies = [
    await failing.ask(CONFIGURE),
    await failing.ask({ type: "process", ciphertext: "00" }),
    await failing.ask({ type: SECRET }),
    await failing.ask({ type: "configure", encrypted_tsk: SECRET, aws_access_key_id: SECRET }),
    await working.ask({ type: "process", ciphertext: await sealed(new Uint8Array(5)) }),
    await working.ask({ type: "process", ciphertext: SECRET }),
    await working.ask({ ...CONFIGURE, kms_key_id: SECRET }),
    await working.ask({ ...CONFIGURE, region: SECRET }),
  ];
  for (const reply of replies) {
    assertEquals(Object.keys(reply).toSorted(), ["details", "msg", "status"]);
    for (const hidden of [SECRET, "file://", "    at ", ".ts"]) {
      assertEquals(JSON.stringify(reply).includes(hidden), false, JSON.stringify(reply));
    }
  }
});

Deno.test("a service that ends while configure is under way keeps no key, whenever that is", async () => {
  for (let turns = 0; turns < 40; turns++) {
    const raw = new Uint8Array(TSK);
    const aead = new CountingAead();
    const { session } = setup({ aead, kms: new FakeKms(() => Promise.resolve(raw)) });
    const configuring = configureOn(session, { ...CONFIGURE }).catch(() => {});
    for (let n = 0; n < turns; n++) await Promise.resolve();
    session[Symbol.dispose]();
    await within(configuring, "the end of configure");
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals([raw, aead.keys], [new Uint8Array(32), 0], `disposed after ${turns} steps`);
  }
});

/** What a client of the old format and one that binds send, and how the service takes it. */
const requesterOf = (ask: Setup["ask"]) => ({ exchange: ask, request: ask });
const ID = encodeHex(new Uint8Array(16).fill(7));

Deno.test("a reply sent back as a request is refused where blobs are bound; the old format takes it", async () => {
  const { ask } = setup();
  await ask(CONFIGURE);
  const key = TSK;
  for (const length of [3, 20_000]) {
    const data = new Uint8Array(length).fill(5);
    let reflected: WireObject = {};
    const client = {
      ...requesterOf(ask),
      request: async (request: WireObject) => {
        const reply = await ask(request);
        // An intermediary sends the reply's blob as a request with the same id.
        reflected = await ask({ ...request, ciphertext: reply["result"] });
        return reply;
      },
    };
    assertEquals(await processData(client, { key, data }), data);
    assertEquals(reflected["msg"], "decrypt_failed");
    assertEquals(await processData(client, { key, data }, { bind: false }), data);
    assertEquals(reflected["status"], "ok");
  }
});

Deno.test("a bound blob opens for its own direction, id and format alone", async () => {
  const { ask } = setup();
  await ask(CONFIGURE);
  using key = new SealingKey(SecretBytes.copyOf(TSK), { random: HOST_RANDOM.fill });
  const data = processBinding("request", decodeHex(ID));
  const ciphertext = encodeHex(await key.seal(new Uint8Array(3), data));
  const bound = { type: "process", ciphertext, bind: true, request_id: ID };
  assertEquals((await ask(bound))["status"], "ok");
  const others: WireObject[] = [
    { type: "process", ciphertext },
    { ...bound, bind: false },
    { ...bound, request_id: encodeHex(new Uint8Array(16)) },
    { ...bound, ciphertext: await sealed(new Uint8Array(3)) },
  ];
  for (const request of others) assertEquals((await ask(request))["msg"], "decrypt_failed");
  // The reply of another request does not pass for this one's.
  const other = await ask(bound);
  await assertRejects(
    () => processData({ ...requesterOf(ask), request: () => Promise.resolve(other) }, { key: TSK, data }),
    EnclaveError,
    "not the answer to this request",
  );
});

Deno.test("--bind-process refuses what is not bound", async () => {
  const { ask } = setup({ bindProcess: true });
  await ask(CONFIGURE);
  const ciphertext = await sealed(new Uint8Array(3));
  assertEquals((await ask({ type: "process", ciphertext }))["msg"], "binding_required");
  const data = new Uint8Array(9);
  assertEquals(await processData(requesterOf(ask), { key: TSK, data }), data);
});

Deno.test("process is refused while the kernel's random numbers are not trusted, and served once they are", async () => {
  const kms = new FakeKms(() => Promise.resolve(new Uint8Array(TSK)));
  let isSeeded = false;
  Object.defineProperty(kms, "entropySeeded", { get: () => isSeeded });
  const { session, ask } = setup({ kms, entropy: { kernelGenerator: "virtio_rng.0", random: HOST_RANDOM } });
  using _ = session;
  assertEquals((await ask(CONFIGURE))["status"], "ok");
  using key = new SealingKey(new SecretBytes(new Uint8Array(TSK)), { random: HOST_RANDOM.fill });
  const request = { type: "process", ciphertext: encodeHex(await key.seal(new Uint8Array(4))) };
  assertEquals((await ask(request))["msg"], "entropy_not_trusted");
  isSeeded = true;
  assertEquals((await ask(request))["status"], "ok");
});

Deno.test("a key that has made many seals causes one warning, and health reports how many", async () => {
  const limits: { warnAt: number } = SEAL_LIMITS;
  const { warnAt } = limits;
  try {
    limits.warnAt = 2;
    const { ask, events } = setup();
    await ask(CONFIGURE);
    const process = { type: "process", ciphertext: await sealed(new Uint8Array(5)) };
    const warnings = () => events.recent(100).filter(({ event }) => event === "rekey_soon").length;
    const seen: number[] = [];
    for (let seals = 1; seals <= 4; seals++) {
      await ask(process);
      seen.push(warnings());
    }
    assertEquals([seen, (await ask({ type: "health" }))["seals"]], [[0, 1, 1, 1], 4]);
  } finally {
    limits.warnAt = warnAt;
  }
});
