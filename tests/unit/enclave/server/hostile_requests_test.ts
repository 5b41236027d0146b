/** Request fields from the parent that must have no effect: keys for documents, settings, oversized values. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";
import { REQUESTS, WALLET_REQUESTS } from "../../../../lib/shared/wire/protocol.ts";
import type { Reply, WireObject } from "../../../../lib/shared/wire/messages.ts";
import { Client } from "../../../../lib/ctl/client/client.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { within } from "../../../helpers/deadline.ts";
import { sealedRig } from "../../../helpers/sealed_rig.ts";
import { startTestService } from "../../../helpers/test_service.ts";
import { CREDENTIAL, walletRig } from "../../../helpers/wallet_rig.ts";

const NONCE = encodeBase64(new Uint8Array(16).fill(7));

/** A key of the parent's, which KMS would encrypt for if an attestation document named it. */
async function parentsKey(): Promise<string> {
  const { publicKey } = await crypto.subtle.generateKey(
    { name: "RSA-OAEP", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
    true,
    ["encrypt", "decrypt"],
  );
  return encodeBase64(new Uint8Array(await crypto.subtle.exportKey("spki", publicKey)));
}

Deno.test("no attestation document names a key that a request brings", async () => {
  const public_key = await parentsKey();
  const brought = { public_key, publicKey: public_key, recipient: public_key, nonce: NONCE };
  await using rig = await sealedRig();
  using client = await rig.connect();
  const attested = await client.request({ type: "attest", ...brought });
  const { publicKey } = await rig.nsm.verify(decodeBase64(String(attested["attestation_document"])), {
    nonce: decodeBase64(NONCE),
  });
  // X25519, which KMS encrypts nothing for.
  assertEquals([publicKey?.length, encodeBase64(publicKey ?? new Uint8Array())], [
    32,
    await rig.publicKey(client),
  ]);

  const ofReceipts = { type: "attest", purpose: "receipt", ...brought };
  const receipts = await client.request(ofReceipts);
  const { publicKey: signer } = await rig.nsm.verify(
    decodeBase64(String(receipts["attestation_document"])),
    {},
  );
  assertEquals([signer?.length, encodeBase64(signer ?? new Uint8Array())], [32, receipts["public_key"]]);
  const named = await client.exchange({ ...ofReceipts, key: encodeBase64(new Uint8Array(32).fill(1)) });
  assertEquals(named["msg"], "receipt_key_unknown");

  const init = { type: "master_key.init", enclave_id: 1, credential: CREDENTIAL };
  const account = { apiRequest: "generateAccount", credential: CREDENTIAL, name: "alice" };
  const rewrap = { type: "master_key.rewrap", new_kms_key_id: rig.keyArn, credential: CREDENTIAL };
  for (
    const request of [
      // In `init` the name is that of a row's field, which is refused for its length.
      { ...init, ...brought, public_key: null },
      { ...account, ...brought },
      { ...rewrap, ...brought },
      { type: "master_key.public_info", ...brought },
    ]
  ) {
    const reply = await client.exchange(request) as Record<string, unknown>;
    const content = (reply["content"] ?? reply) as Record<string, unknown>;
    const document = content["attestation_document"] ?? content["attestationDocument"];
    const found = await rig.nsm.verify(decodeBase64(String(document)), { nonce: decodeBase64(NONCE) });
    assertEquals(found.publicKey, undefined, JSON.stringify(Object.keys(request)));
  }
});

/** Requests that ask KMS, each with a field for the credentials. */
const ASKING_KMS: readonly WireObject[] = [
  { type: "configure", encrypted_tsk: encodeBase64(new Uint8Array(64)) },
  { type: "master_key.init", enclave_id: 1 },
  { type: "master_key.verify", enclave_id: 1 },
  { type: "master_key.rewrap" },
  { apiRequest: "generateAccount", name: "alice" },
  { apiRequest: "rewrapAccount", name: "alice" },
  { apiRequest: "sign", name: "alice" },
];
const TOO_LONG: WireObject = {
  AccessKeyId: "A".repeat(129),
  SecretAccessKey: "S".repeat(257),
  Token: "T".repeat(16_385),
};

for (const request of ASKING_KMS) {
  const type = request["type"] ?? request["apiRequest"];
  Deno.test(`${type} with megabytes for a credential is refused before it waits, and the field is named`, async () => {
    using rig = await walletRig();
    for (const [name, value] of Object.entries(TOO_LONG)) {
      const reply = await rig.ask({
        ...request,
        key_id: rig.firstArn,
        kms_key_id: rig.firstArn,
        new_kms_key_id: rig.firstArn,
        credential: { ...CREDENTIAL, [name]: value },
      });
      assertEquals([reply.msg, reply.details.includes(`Field ${name} must have at most`)], [
        "missing_fields",
        true,
      ]);
    }
    assertEquals(rig.kms.calls, { decrypt: 0, generateDataKey: 0 });
  });
}

for (const purpose of [["receipt"], { toString: 1 }, 1, null, "__proto__"]) {
  Deno.test(`a purpose that is ${JSON.stringify(purpose)} selects no other route`, async () => {
    using rig = await walletRig();
    const asked = await rig.ask({ type: "ping", purpose });
    assertEquals(asked, await rig.ask({ type: "ping" }));
  });
}

Deno.test("a wrapped session key that is longer than KMS takes is refused before it waits", async () => {
  using rig = await walletRig();
  const configure = { type: "configure", kms_key_id: rig.firstArn, credential: CREDENTIAL };
  const send = (length: number) =>
    rig.ask({ ...configure, encrypted_tsk: encodeBase64(new Uint8Array(length)) });
  assertEquals([(await send(6_145)).msg, rig.kms.calls.decrypt], ["missing_fields", 0]);
  assertEquals([(await send(6_144)).msg, rig.kms.calls.decrypt], ["kms_decrypt_failed", 1]);
});

Deno.test("a request that waits for KMS is emptied, and its memory released", async () => {
  using rig = await walletRig();
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<never>();
  const wait = () => (asked.resolve(), answer.promise);
  rig.kms.decrypt = wait;
  rig.kms.generateDataKey = wait;
  const requests: readonly WireObject[] = [
    { type: "configure", encrypted_tsk: encodeBase64(new Uint8Array(64)) },
    { type: "master_key.init", enclave_id: 1 },
    { apiRequest: "generateAccount", name: "alice" },
  ];
  const waiting: unknown[] = [];
  for (const fields of requests) {
    const request = {
      ...fields,
      kms_key_id: rig.firstArn,
      credential: { ...CREDENTIAL },
      x: [{}, {}, {}],
    };
    let isDropped = false;
    waiting.push(rig.handler(request, new AbortController().signal, () => isDropped = true));
    assertEquals([Object.keys(request), isDropped], [[], true], JSON.stringify(fields));
  }
  await within(asked.promise, "a question to KMS");
  answer.reject(new Error("the end of the test"));
  await within(Promise.all(waiting), "the answers");
});

Deno.test("values that were sealed count as those that were not: what would take too much memory is not parsed", async () => {
  const limits = { ...DEFAULT_LIMITS, maxMessage: 2 ** 20, maxInFlight: 14 * 2 ** 20 };
  await using rig = await sealedRig({ limits });
  using client = await rig.connectSealed();
  const many = (count: number) => ({ type: "ping", x: Array.from({ length: count }, () => ({})) });
  assertEquals((await client.exchange(many(1_000)))["status"], "ok");
  const refused = await client.exchange(many(100_000));
  assertEquals([refused["status"], refused["msg"]], ["error", "message_too_large"]);
  assertEquals((await client.exchange({ type: "ping" }))["status"], "ok");
});

/** Names of settings as the configuration, the command line and the environment have them, with values that would open a door. */
const SETTINGS: WireObject = {
  kms_keys: ["arn:aws:kms:us-east-1:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
  KMS_KEYS: "arn:aws:kms:us-east-1:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab",
  attested: false,
  kms: "local",
  KMS: "aws",
  endpoint: "http://127.0.0.1:1",
  kms_endpoint_url: "http://127.0.0.1:1",
  proxy_port: 1,
  context: {},
  tsk_context: "none",
  encryption_context: {},
  EncryptionContext: {},
  configure_once: false,
  require_epoch: false,
  min_tsk_epoch: 0,
  min_epoch: 0,
  bind_process: false,
  require_sealed: false,
  limits: { maxMessage: 1, maxConnections: 1 },
  guards: {},
  algorithm: "RSAES_OAEP_SHA_1",
  EncryptionAlgorithm: "RSAES_OAEP_SHA_1",
  GrantTokens: ["x"],
  Recipient: {},
};

Deno.test("a request full of settings asks KMS the same, and changes nothing that health shows", async () => {
  const local = await LocalKms.open({ region: "us-east-1" });
  const asked: unknown[] = [];
  const context = { app: "denclave", purpose: "tsk" };
  await using service = startTestService({
    kms: {
      attested: true,
      decrypt: (access, request) => {
        asked.push([access.region, request.keyId, request.context, Object.keys(request).toSorted()]);
        return local.decrypt(access, request);
      },
      generateDataKey: (access, request) => local.generateDataKey(access, request),
      health: () => ({ backend: "test" }),
      entropySeeded: true,
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    keys: local.keyArns.map(parseKeyArn),
    context,
  });
  using client = await Client.connect(service.address);
  const [arn = ""] = local.keyArns;
  const configure = {
    type: "configure",
    encrypted_tsk: encodeBase64(await local.encrypt(arn, new Uint8Array(32), context)),
    ...CREDENTIAL,
  };
  const health = async () => {
    const { uptime_s: _, configured_at: __, requests: ___, ...rest } = await client.exchange({
      type: "health",
    });
    return rest;
  };
  assertEquals((await client.exchange(configure))["status"], "ok");
  const before = await health();
  assertEquals((await client.exchange({ ...configure, ...SETTINGS }))["status"], "ok");
  assertEquals([asked.length, asked[1]], [2, asked[0]]);
  for (const type of ["ping", "health", "logs", "metrics", "process", "master_key.public_info"]) {
    await client.exchange({ type, ...SETTINGS });
  }
  assertEquals(await health(), before);
});

/** Values of every type, for every field. */
const ODD: readonly unknown[] = [null, true, -1, 1e308, "", "\u0000", "x".repeat(70_000), [], [[]], {}, {
  length: -1,
}];
const FIELDS = [
  ...new Set(
    Object.values({ ...REQUESTS, ...WALLET_REQUESTS }).flatMap(({ request }) => Object.keys(request)),
  ),
  ...["key_id", "keyId", "version", "credential", "AccessKeyId"],
];

Deno.test("a field of any type in any request is refused with a specific code, and never causes internal_error", async () => {
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  using rig = await walletRig({ attester: nsm });
  const account = await rig.account("alice");
  const bases: readonly WireObject[] = [
    ...Object.keys(REQUESTS).map((type) => ({ type, credential: CREDENTIAL })),
    { apiRequest: "generateAccount", credential: CREDENTIAL, name: "bob" },
    { ...account, message: "hello" },
  ];
  const codes = new Set<string>();
  for (const base of bases) {
    for (const name of FIELDS) {
      for (const value of ODD) {
        const reply: Partial<Reply> & { msg?: string } = await rig.ask({ ...base, [name]: value });
        if (reply.msg !== undefined) codes.add(reply.msg);
        assertNotEquals(
          reply.msg,
          "internal_error",
          JSON.stringify([base["type"], name, value]).slice(0, 200),
        );
      }
    }
  }
  assert(codes.has("missing_fields") && codes.has("invalid_payload"), [...codes].join());
  nsm[Symbol.dispose]();
});
