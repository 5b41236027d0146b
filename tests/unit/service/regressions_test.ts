/**
 * What a second reader found wrong in the first version, each defect with the test that showed it.
 */
import { createMemory } from "../../../lib/service/memory_budget.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { hintFor } from "../../../lib/aws/kms_reasons.ts";
import { parseOptions, UsageError } from "../../../lib/cli/options.ts";
import { readServeConfig, SERVE_OPTIONS } from "../../../lib/cli/serve.ts";
import { SecretBytes } from "../../../lib/crypto/secret_bytes.ts";
import { SealingKey, SMALL_LENGTH } from "../../../lib/crypto/sealing.ts";
import { EnclaveError } from "../../../lib/errors.ts";
import { parseKeyArn, selectKey } from "../../../lib/aws/key_arn.ts";
import { LocalKms } from "../../../lib/kms/local.ts";
import { type Handler } from "../../../lib/service/handler.ts";
import { Connection } from "../../../lib/service/connection.ts";
import { createDispatcher } from "../../../lib/service/dispatch.ts";
import { EventLog } from "../../../lib/service/events.ts";
import { DEFAULT_LIMITS, type Limits } from "../../../lib/service/limits.ts";
import { Metrics } from "../../../lib/service/metrics.ts";
import { Server } from "../../../lib/service/server.ts";
import { type SessionKeyOptions, SessionKeyService } from "../../../lib/service/session_key.ts";
import { createTurnEnd } from "../../../lib/service/turn.ts";
import { parseAddress } from "../../../lib/wire/address.ts";
import { detectFraming, encodeMessage, FrameDecoder } from "../../../lib/wire/framing.ts";
import { takeCredentials } from "../../../lib/wire/messages.ts";
import plugin from "../../../scripts/lint_plugin.ts";
import { within } from "../../helpers/deadline.ts";
import { MemoryAcceptor, Peer } from "../../helpers/duplex.ts";
import { FakeKms } from "../../helpers/fake_kms.ts";
import { plainMasterKey, plainSealed, plainWallet } from "../../helpers/wallet_rig.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const TSK = new Uint8Array(32).fill(0xa5);
const CONFIGURE = {
  type: "configure",
  encrypted_tsk: encodeBase64(new Uint8Array([1])),
  aws_access_key_id: "AKID",
  aws_secret_access_key: "S",
};
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

function sessionOf(options: Partial<SessionKeyOptions>) {
  const events = new EventLog({ write: () => {}, level: "debug" });
  const kms = options.kms ?? new FakeKms(() => Promise.resolve(new Uint8Array(TSK)));
  const session = new SessionKeyService({
    kms,
    keys: [parseKeyArn(ARN)],
    region: undefined,
    context: undefined,
    configureOnce: false,
    requireEpoch: false,
    workflow: (plaintext) => plaintext,
    log: events.log,
    now: () => new Date(0),
    ...options,
  });
  const handler = createDispatcher({
    session,
    wallet: plainWallet(kms, events.log),
    sealed: plainSealed(kms, events.log),
    masterKey: plainMasterKey(kms, events.log),
    kms,
    events,
    metrics: new Metrics(),
    version: "test",
    warnings: [],
    serverStats: () => ({}),
    log: events.log,
    now: () => new Date(0),
  });
  return { session, handler, events };
}

async function sealed(text: string): Promise<string> {
  using key = await SealingKey.take(SecretBytes.copyOf(TSK));
  return encodeHex(await key.seal(new TextEncoder().encode(text)));
}

function connectionOf(handler: Handler, peer: Peer, limits: Partial<Limits> = {}) {
  let now = 0;
  const connection = new Connection(1, peer.stream, {
    handler,
    limits: { ...DEFAULT_LIMITS, ...limits },
    memory: createMemory(2 ** 29),
    transport: "tcp",
    log: () => {},
    metrics: new Metrics(),
    now: () => now,
    turnEnd: () => Promise.resolve(),
  });
  return { serving: connection.serve(), pass: (ms: number) => connection.sweep(now += ms) };
}

Deno.test("what a workflow throws does not leave the enclave by way of the logs request", async () => {
  const { handler } = sessionOf({
    workflow: (plaintext) => new TextEncoder().encode(JSON.parse(new TextDecoder().decode(plaintext))),
  });
  await handler({ ...CONFIGURE });
  await handler({ type: "process", ciphertext: await sealed("PIN=4711") });
  const logs = await handler({ type: "logs" });
  assertEquals(JSON.stringify(logs).includes("PIN="), false);
});

Deno.test("a drain ends in its time though a handler never does", async () => {
  const acceptor = new MemoryAcceptor();
  const never = Promise.withResolvers<never>();
  const begun = Promise.withResolvers<void>();
  const server = new Server(acceptor, {
    handler: () => (begun.resolve(), never.promise),
    limits: DEFAULT_LIMITS,
    memory: createMemory(2 ** 29),
    transport: "tcp",
    log: () => {},
    metrics: new Metrics(),
    now: () => performance.now(),
    turnEnd: createTurnEnd(),
  });
  acceptor.connect().send({ n: 1 });
  await within(begun.promise, "the request");
  await within(server.drain(20), "the end of the drain", 1_000);
});

Deno.test("after a request's timeout reply, a pipelined one does not spoil it, and is not worked on", async () => {
  const gate = Promise.withResolvers<void>();
  const peer = new Peer("u32be");
  const asked: unknown[] = [];
  const { serving, pass } = connectionOf(
    async (request) => {
      asked.push(request["n"]);
      if (request["n"] === 1) await gate.promise;
      return { type: "x", reply: { status: "ok", n: request["n"] } };
    },
    peer,
    { requestMs: 100 },
  );
  peer.send(new Uint8Array([1, 2].flatMap((n) => [...encodeMessage("u32be", { n })])));
  await turn();
  pass(100);
  gate.resolve();
  await turn();
  const replies = await peer.receiveAll();
  await within(serving, "the end of the connection");
  assertEquals([replies.map((reply) => reply["msg"]), asked], [["timeout"], [1]]);
});

Deno.test("there always is room to write into, also with more waiting than one document may have", () => {
  const decoder = new FrameDecoder(1_000);
  const messages = encodeMessage("u32be", { a: "x".repeat(500) });
  for (let count = 0; count < 40; count++) {
    // push() itself hangs here.
    for (let at = 0; at < messages.length;) {
      const space = decoder.space();
      assert(space.length > 0, `no room after ${count} messages`);
      const piece = messages.subarray(at, at + space.length);
      space.set(piece);
      decoder.commit(piece.length);
      at += piece.length;
    }
  }
});

Deno.test("a u32be request whose header comes more than a quarter of a second before its body is answered", async () => {
  const peer = new Peer("u32be");
  const { serving } = connectionOf(() => ({ type: "x", reply: { status: "ok" } }), peer);
  const message = encodeMessage("u32be", { n: 1 });
  peer.send(message.subarray(0, 4));
  await peer.allRead();
  // Not a sleep for its own sake: the 250 ms are a real timer of the connection's.
  await Promise.race([peer.closedByService(), new Promise((resolve) => setTimeout(resolve, 400))]);
  peer.send(message.subarray(4));
  const reply = await peer.receive();
  peer.end();
  await within(serving, "the end of the connection");
  assertEquals(reply?.["status"], "ok");
});

Deno.test("a wiped key opens and seals nothing, however long", async () => {
  const key = await SealingKey.take(SecretBytes.copyOf(TSK));
  const blob = await key.seal(new Uint8Array(2 * SMALL_LENGTH));
  key[Symbol.dispose]();
  await assertRejects(async () => await key.seal(new Uint8Array(2 * SMALL_LENGTH)), TypeError, "wiped");
  await assertRejects(async () => await key.open(blob), TypeError, "wiped");
});

Deno.test("a service that ends while configure is under way keeps no key, whenever that is", async () => {
  for (let turns = 0; turns < 40; turns++) {
    const raw = new Uint8Array(TSK);
    const { session } = sessionOf({ kms: new FakeKms(() => Promise.resolve(raw)) });
    const configuring = session.configure({ ...CONFIGURE }).catch(() => {});
    for (let n = 0; n < turns; n++) await Promise.resolve();
    session[Symbol.dispose]();
    await within(configuring, "the end of configure");
    await turn();
    assertEquals(raw, new Uint8Array(32), `disposed after ${turns} steps`);
  }
});

Deno.test("the opened plaintext is wiped when the workflow throws", async () => {
  let seen = new Uint8Array(1);
  const { handler } = sessionOf({
    workflow: (plaintext) => {
      seen = plaintext;
      throw new Error("no");
    },
  });
  await handler({ ...CONFIGURE });
  await handler({ type: "process", ciphertext: await sealed("secret") });
  assertEquals(seen, new Uint8Array(6));
});

const LEFT: readonly (readonly [string, Record<string, unknown>])[] = [
  ["a second spelling", {
    aws_access_key_id: "A",
    aws_secret_access_key: "S",
    AccessKeyId: "B",
    SecretAccessKey: "T",
  }],
  ["a token of another spelling", { AccessKeyId: "A", SecretAccessKey: "S", aws_session_token: "T" }],
  ["a token alone", { token: "T" }],
];
for (const [what, request] of LEFT) {
  Deno.test(`${what} is off the request as well when the credentials were taken`, () => {
    try {
      takeCredentials(request);
    } catch {
      // Refusing is right too.
    }
    assertEquals(request, {});
  });
}

const KEY_HEX = "ab".repeat(32);
const KEY_BASE64 = encodeBase64(new Uint8Array(32).fill(0xa5));
for (
  const [what, before, secret] of [
    ["hex of a key after 0x", "0x", KEY_HEX],
    ["hex of a key after an underscore", "key_", KEY_HEX],
    ["hex of a key across the place where long words are cut", "x ".repeat(230), KEY_HEX],
    ["base64 of a key", "key: ", KEY_BASE64],
  ] as const
) {
  Deno.test(`${what} is not written into the log`, () => {
    const lines: string[] = [];
    const { log } = new EventLog({ write: (line) => lines.push(line), level: "info" });
    log("info", "e", { reason: before + secret });
    assertEquals(lines.join("").includes(secret.slice(0, 20)), false);
  });
}

Deno.test("a KMS key that the configuration names twice can still be used", () => {
  const { keys } = readServeConfig(parseOptions(SERVE_OPTIONS, ["--kms-key", ARN, "--kms-key", ARN]));
  assertEquals(selectKey(keys, { key: ARN }).arn, ARN);
});

Deno.test("a word that every object has is no word for a switch", () => {
  const env = (name: string) => name === "CONFIGURE_ONCE" ? "constructor" : undefined;
  assertThrows(() => parseOptions(SERVE_OPTIONS, [], env), UsageError, "CONFIGURE_ONCE");
});

Deno.test("the hint is text for any error name that KMS may give", () => {
  assertEquals(typeof hintFor({ name: "constructor", message: "" }), "string");
});

for (const text of ["vsock:4294967296:5000", "vsock:9999999999:5000", "tcp:[]:80"]) {
  Deno.test(`${text} is refused`, () => {
    assertEquals(assertThrows(() => parseAddress(text), EnclaveError).code, "invalid_address");
  });
}

Deno.test("a u32be length within the largest --max-message is not taken for white space", () => {
  // 160 MiB, of at most 256: the first byte is a tab's.
  assertEquals(detectFraming(new Uint8Array([0x0a, 0, 0, 0, 0x7b])), "u32be");
});

async function withFile(run: (file: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "denclave-unit-" });
  try {
    await run(`${directory}/keys.json`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("keys that are made at the same time are both in the file", () =>
  withFile(async (file) => {
    {
      await using kms = await LocalKms.open({ region: "us-east-1", file });
      await Promise.all([kms.createKey(), kms.createKey()]);
    }
    await using again = await LocalKms.open({ region: "us-east-1", file });
    assertEquals(again.keyArns.length, 3);
  }));

Deno.test("a key file with an entry that is no ARN is reported as the file's fault", () =>
  withFile(async (file) => {
    await Deno.writeTextFile(file, '{"version":1,"keys":{"x":"y"}}', { mode: 0o600 });
    const error = await assertRejects(() => LocalKms.open({ region: "us-east-1", file }), EnclaveError);
    assertEquals(error.code, "local_kms_file");
  }));

for (
  const [root, file] of [["/var/lib/ci/work", "lib/service/server.ts"], ["/opt/scripts/repo", "ffi/sdk.ts"]]
) {
  Deno.test(`the lint rules hold for a repository in ${root}`, () => {
    const source = file === "ffi/sdk.ts"
      ? 'import { a } from "../../lib/wire/mod.ts";'
      : 'import { a } from "../../../ffi/mod.ts";';
    assertEquals(Deno.lint.runPlugin(plugin, `${root}/${file}`, source).map(({ id }) => id), [
      "house/import-walls",
    ]);
  });
}

for (
  const [what, source] of [
    ["a dynamic import", 'await import("../../../ffi/mod.ts");'],
    ["a type's import", 'let a: import("../../../ffi/mod.ts").A;'],
  ] as const
) {
  Deno.test(`${what} does not climb a wall`, () => {
    const found = Deno.lint.runPlugin(plugin, "/repo/lib/service/server.ts", source);
    assertEquals(found.map(({ id }) => id), ["house/import-walls"]);
  });
}

for (
  const source of ['Deno["dlopen"]("x", {});', "const { dlopen } = Deno;", 'globalThis.Deno.dlopen("x", {});']
) {
  Deno.test(`${source} is seen outside ffi/`, () => {
    const found = Deno.lint.runPlugin(plugin, "/repo/lib/kms/nitro.ts", source);
    assertEquals(found.map(({ id }) => id), ["house/dlopen-in-ffi"]);
  });
}
