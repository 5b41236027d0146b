/** The client that seals, against a service in this process: what it can do, which enclaves it refuses, and what an intermediary sees. */
import { VERSION } from "../../../../lib/shared/version.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { verifyDocument } from "../../../../lib/shared/attestation/document.ts";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { CredentialSource } from "../../../../lib/ctl/aws/credential_source.ts";
import { enclaveMasterKey } from "../../../../lib/ctl/gateway/enclave.ts";
import {
  type SealedClientOptions,
  SealedError,
  ServiceError,
} from "../../../../lib/ctl/client/sealed_client.ts";
import { WalletClient } from "../../../../lib/ctl/client/wallet_client.ts";
import { exportPublicKey, generateKeyPair } from "../../../../lib/shared/sealed/mod.ts";
import { KEY_GRACE_MS, KEY_LIFE_MS } from "../../../../lib/enclave/sealed/sealed_keys.ts";
import type { Address } from "../../../../lib/shared/wire/address.ts";
import { listen } from "../../../../lib/shared/wire/listen.ts";
import { encodeMessage, FrameDecoder } from "../../../../lib/shared/wire/framing.ts";
import { parseObject, type WireObject } from "../../../../lib/shared/wire/messages.ts";
import { CONFIGURATION_HASH, PCR0, sealedRig } from "../../../helpers/sealed_rig.ts";

const SECRET = "NEVER-SEEN";
const credentials = new CredentialSource(() =>
  Promise.resolve({ accessKeyId: "test", secretAccessKey: SECRET, sessionToken: SECRET })
);

/** An intermediary: forwards messages, records them, and may change the replies. */
function eavesdrop(
  to: Address,
  change: (request: WireObject, reply: WireObject) => WireObject = (_, reply) => reply,
) {
  const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  const seen: string[] = [];
  if (to.transport !== "tcp") throw new TypeError("the rig listens on TCP");
  const { hostname, port } = to;

  async function read(stream: Deno.Conn, decoder: FrameDecoder): Promise<WireObject | undefined> {
    for (;;) {
      const frame = decoder.next();
      if (frame !== undefined && "body" in frame) return parseObject(frame.body);
      const length = await stream.read(decoder.space());
      if (length === null) return undefined;
      decoder.commit(length);
    }
  }

  async function serve(client: Deno.Conn): Promise<void> {
    using _ = client;
    using service = await Deno.connect({ hostname, port });
    const [requests, replies] = [new FrameDecoder(), new FrameDecoder()];
    for (;;) {
      const request = await read(client, requests);
      if (request === undefined) return;
      await service.write(encodeMessage("u32be", request));
      const reply = await read(service, replies);
      if (reply === undefined) return;
      seen.push(JSON.stringify(request), JSON.stringify(reply));
      await client.write(encodeMessage("u32be", change(request, reply)));
    }
  }

  const serving = (async () => {
    const all: Promise<void>[] = [];
    for await (const client of listener) all.push(serve(client).catch(() => {}));
    await Promise.all(all);
  })();
  return {
    address,
    seen,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await serving.catch(() => {});
    },
  };
}

Deno.test("session, wallet and master key are served sealed, and nothing of them is seen on the way or in the log", async () => {
  await using rig = await sealedRig({ sealed: { required: true } });
  await using parent = eavesdrop(rig.address);
  {
    using client = await rig.connectSealed({}, parent.address);
    // The session key.
    const tsk = new Uint8Array(32).fill(0xa5);
    const reply = await client.request({
      type: "configure",
      encrypted_tsk: encodeBase64(await rig.kms.encrypt(rig.keyArn, tsk)),
      aws_access_key_id: "test",
      aws_secret_access_key: SECRET,
      aws_session_token: SECRET,
    });
    assertEquals(reply["msg"], "configured");
    using key = new SealingKey(new SecretBytes(tsk), { random: HOST_RANDOM.fill });
    // Large enough that its hex does not fit where small replies are made.
    const data = new TextEncoder().encode(SECRET.repeat(10_000));
    const sealed = await key.seal(data);
    const { result } = await client.request({ type: "process", ciphertext: encodeHex(sealed) });
    assertEquals(await key.open(decodeHex(String(result))), data);
    // The wallet.
    const wallet = new WalletClient(client, credentials);
    const account = await wallet.generateAccount("an account", { keyId: rig.keyArn });
    const { signature } = await wallet.sign(account, { message: SECRET });
    assert(/^0x[0-9a-f]{130}$/.test(signature));
    // The master key.
    const masterKey = enclaveMasterKey(1, client, credentials);
    const held = await masterKey.init({ row: undefined, keyId: rig.keyArn });
    const digest = new Uint8Array(32).fill(1);
    assertEquals((await masterKey.sign(held.row.publicKey, digest, "schnorr")).signature.length, 64);
    // What fails inside.
    const error = await assertRejects(
      () => client.request({ type: "process", ciphertext: "00" }),
      ServiceError,
    );
    assertEquals(error.code, "decrypt_failed");
  }
  const types = parent.seen.filter((_, index) => index % 2 === 0).map((line) => JSON.parse(line).type);
  assertEquals([types[0], new Set(types.slice(1)).size, types.at(-1)], ["attest", 1, "sealed"]);
  const isSeen = (line: string) =>
    line.includes(SECRET) || line.includes(btoa(SECRET)) || line.includes("signature");
  assertEquals([...parent.seen, ...rig.lines].filter(isSeen), []);
});

Deno.test("a listed client is served, and others are not", async () => {
  const clientKey = await generateKeyPair();
  await using rig = await sealedRig({
    sealed: { required: true, clientKeys: [await exportPublicKey(clientKey.publicKey)] },
  });
  using known = await rig.connectSealed({ clientKey });
  using unknown = await rig.connectSealed({ clientKey: await generateKeyPair() });
  using nobody = await rig.connectSealed();
  assertEquals((await known.request({ type: "ping" }))["msg"], "pong");
  for (const client of [unknown, nobody]) {
    const { code, cause } = await assertRejects(() => client.request({ type: "ping" }), SealedError);
    assertEquals([code, cause instanceof ServiceError && cause.code], [
      "sealed_refused",
      "client_not_allowed",
    ]);
  }
});

Deno.test("requests that are made at once are answered each with its own", async () => {
  await using rig = await sealedRig();
  using client = await rig.connectSealed();
  const replies = await Promise.all(
    ["ping", "health", "none such", "metrics", "ping"].map((type) => client.exchange({ type })),
  );
  assertEquals(replies.map(({ msg, version, requests }) => msg ?? version ?? typeof requests), [
    "pong",
    VERSION,
    "unknown_type",
    "object",
    "pong",
  ]);
});

Deno.test("attest returns the verified fields, for the caller's data", async () => {
  await using rig = await sealedRig();
  using client = await rig.connectSealed({ configurationHash: CONFIGURATION_HASH });
  const attested = await client.attest(new Uint8Array([1, 2, 3]));
  assertEquals(attested.configurationHash, CONFIGURATION_HASH);
  assertEquals(attested.document.pcrs.get(0), PCR0);
  assertEquals(attested.document.publicKey, attested.publicKey);
});

Deno.test("a client that expects nothing of the enclave, or what identifies none, is refused", async () => {
  await using rig = await sealedRig();
  const instance = encodeHex(await rig.nsm.pcr(4));
  for (const pcrs of [{}, { 4: instance }, { 0: "00".repeat(48) }, []]) {
    assertEquals(
      (await assertRejects(() => rig.connectSealed({ pcrs }), SealedError)).code,
      "sealed_expectation",
    );
  }
  using client = await rig.connectSealed({ pcrs: [{ 0: "cd".repeat(48) }, { 0: PCR0 }] });
  assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
});

const REFUSED: readonly (readonly [
  string,
  (rig: Awaited<ReturnType<typeof sealedRig>>, other: SimulatedNsm) => Partial<SealedClientOptions>,
])[] = [
  ["attestation_root", () => ({ verify: verifyDocument })],
  ["attestation_root", (_, other) => ({ verify: (document, expected) => other.verify(document, expected) })],
  ["attestation_pcr", () => ({ pcrs: { 0: "cd".repeat(48) } })],
  ["attestation_pcr", () => ({ pcrs: { 0: PCR0, 31: PCR0 } })],
  ["attestation_user_data", () => ({ configurationHash: new Uint8Array(32) })],
];
Deno.test("an enclave of another root, PCR or configuration is sent nothing", async () => {
  await using rig = await sealedRig();
  using other = await SimulatedNsm.start({ pcrs: { 0: PCR0 } });
  for (const [code, options] of REFUSED) {
    using client = await rig.connectSealed(options(rig, other));
    const error = await assertRejects(() => client.exchange({ type: "ping" }), AttestationError);
    assertEquals(error.code, code);
  }
  assertEquals(rig.lines.filter((line) => line.includes('"sealed"')), []);
});

Deno.test("an enclave in debug mode is sent nothing, unless that is wanted", async () => {
  const zero = "00".repeat(48);
  await using rig = await sealedRig({ pcrs: { 0: zero, 1: zero, 2: zero } });
  const pcrs = { 4: encodeHex(await rig.nsm.pcr(4)) };
  using client = await rig.connectSealed({ pcrs, insecureSkipPcrs: true });
  assertEquals(
    (await assertRejects(() => client.exchange({ type: "ping" }), AttestationError)).code,
    "attestation_debug",
  );
  using careless = await rig.connectSealed({ pcrs, insecureSkipPcrs: true, allowDebug: true });
  assertEquals((await careless.request({ type: "ping" }))["msg"], "pong");
});

/** Changes that an intermediary may make to the reply to attest. */
const FORGED: readonly (readonly [string, string, (reply: WireObject, own: string) => WireObject])[] = [
  ["a key of its own", "attestation_public_key", (reply, own) => ({ ...reply, public_key: own })],
  ["another configuration", "attestation_user_data", (reply, own) => ({ ...reply, configuration_hash: own })],
  ["no document", "attestation_malformed", ({ attestation_document: _, ...reply }) => reply],
  ["a key of another length", "attestation_malformed", (reply) => ({ ...reply, public_key: "AAAA" })],
];
Deno.test("an intermediary cannot substitute its own key or configuration for those of the document", async () => {
  await using rig = await sealedRig();
  const own = encodeBase64(await exportPublicKey((await generateKeyPair()).publicKey));
  for (const [what, code, forge] of FORGED) {
    await using parent = eavesdrop(
      rig.address,
      (request, reply) => (request["type"] === "attest" ? forge(reply, own) : reply),
    );
    using client = await rig.connectSealed({}, parent.address);
    const error = await assertRejects(() => client.exchange({ type: "ping" }), AttestationError);
    assertEquals(error.code, code, what);
  }
});

Deno.test("a stored document is not accepted as a new one", async () => {
  await using rig = await sealedRig();
  let kept: WireObject | undefined;
  await using parent = eavesdrop(rig.address, (_, reply) => kept ??= reply);
  using first = await rig.connectSealed({}, parent.address);
  await first.attest();
  using second = await rig.connectSealed({}, parent.address);
  assertEquals((await assertRejects(() => second.attest(), AttestationError)).code, "attestation_nonce");
});

Deno.test("an unsealed reply, or that of another request, is refused; nothing is sent again automatically", async () => {
  await using rig = await sealedRig();
  const tricks: ((reply: WireObject) => WireObject)[] = [];
  let last: WireObject = {};
  await using parent = eavesdrop(rig.address, (request, reply) => {
    const trick = request["type"] === "sealed" ? tricks.shift() : undefined;
    const given = trick?.(reply) ?? reply;
    if (request["type"] === "sealed") last = reply;
    return given;
  });
  using client = await rig.connectSealed({}, parent.address);
  await client.request({ type: "ping" });
  const count = () => parent.seen.filter((line) => line.startsWith('{"type":"sealed"')).length;
  const before = count();
  const cases = [
    [() => ({ status: "ok", msg: "pong" }), "sealed_reply"],
    [() => last, "sealed_not_opened"],
    [() => ({ status: "error", msg: "sealed_key_unknown", details: "" }), "sealed_refused"],
  ] as const;
  for (const [trick, code] of cases) {
    tricks.push(trick);
    assertEquals((await assertRejects(() => client.request({ type: "ping" }), SealedError)).code, code);
  }
  assertEquals(count() - before, cases.length);
  assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
});

Deno.test("the client attests again when its key has expired, and continues", async () => {
  await using rig = await sealedRig();
  await using parent = eavesdrop(rig.address);
  using client = await rig.connectSealed({}, parent.address);
  const attests = () => parent.seen.filter((line) => line.startsWith('{"type":"attest"')).length;
  await client.request({ type: "ping" });
  await client.request({ type: "ping" });
  assertEquals(attests(), 1);
  rig.clock.ms = KEY_LIFE_MS;
  await client.request({ type: "ping" });
  rig.clock.ms = 2 * KEY_LIFE_MS + KEY_GRACE_MS + 1;
  await client.request({ type: "ping" });
  assertEquals(attests(), 3);
});

Deno.test("the key's lifetime in a reply is limited to between a second and an hour", async () => {
  for (
    const [expiresAt, after, attests] of [
      ["2000-01-01T00:00:00Z", 999, 1],
      ["2000-01-01T00:00:00Z", 1_000, 2],
      ["2999-01-01T00:00:00Z", KEY_LIFE_MS, 2],
      ["no time", KEY_LIFE_MS - 1, 1],
    ] as const
  ) {
    await using rig = await sealedRig();
    await using parent = eavesdrop(
      rig.address,
      (_, reply) => ("expires_at" in reply ? { ...reply, expires_at: expiresAt } : reply),
    );
    using client = await rig.connectSealed({}, parent.address);
    await client.request({ type: "ping" });
    rig.clock.ms = after;
    await client.request({ type: "ping" });
    assertEquals(parent.seen.filter((line) => line.startsWith('{"type":"attest"')).length, attests);
  }
});
