/**
 * Any order of requests, lost SDK processes, late calls and restarts: the service keeps the keys that a small
 * model says, and no other. The service and the pool of SDK processes are the real ones; KMS and the
 * processes are scripted.
 */
import { assert, assertEquals } from "@std/assert";
import { decodeBase64, decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import fc from "fast-check";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { verifyDigest } from "../../../../lib/shared/crypto/secp256k1_verify.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { MemoryAcceptor, type Peer } from "../../../helpers/duplex.ts";
import { runs } from "../../../helpers/effort.ts";
import { ScriptedSdk, type Trouble } from "../../../helpers/scripted_sdk.ts";
import { startTestService, type TestService } from "../../../helpers/test_service.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ACCESS = { aws_access_key_id: "AKID", aws_secret_access_key: "secret" };
const CREDENTIAL = { AccessKeyId: "AKID", SecretAccessKey: "secret", Token: "" };
const DIGEST = new Uint8Array(32).fill(5);

/** What must be true of the service. */
class Model {
  /** Number of the session key in use. */
  session: number | undefined;
  /** The master key that is held, and the newest row that the parent has. */
  master: { readonly publicKey: string; readonly epoch: number } | undefined;
  row: WireObject | undefined;
  troubles = 0;

  /** Whether a KMS call gets an answer: it is made at most twice. */
  callWorks(): boolean {
    const used = Math.min(this.troubles, 2);
    this.troubles -= used;
    return used < 2;
  }
}

/** The service, started again at will, with one client. */
class Real implements AsyncDisposable {
  readonly sdk = new ScriptedSdk();
  #service: TestService;
  #peer: Peer;

  constructor() {
    [this.#service, this.#peer] = this.#start();
  }

  #start(): readonly [TestService, Peer] {
    const acceptor = new MemoryAcceptor();
    const kms = this.sdk.start();
    const service = startTestService({ kms, acceptor, keys: [parseKeyArn(ARN)] });
    return [service, acceptor.connect()];
  }

  async ask(request: WireObject): Promise<WireObject> {
    this.#peer.send(request);
    const reply = await this.#peer.receive();
    assert(reply !== undefined, "the service closed the connection");
    return reply;
  }

  async restart(): Promise<void> {
    await this[Symbol.asyncDispose]();
    [this.#service, this.#peer] = this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#peer.vanish();
    await this.#service[Symbol.asyncDispose]();
  }
}

type Step = fc.AsyncCommand<Model, Real>;

const step = (name: string, run: Step["run"]): Step => ({ toString: () => name, run, check: () => true });

const tskOf = (number: number) => new Uint8Array(32).fill(number);
const sealingKey = (number: number) =>
  new SealingKey(new SecretBytes(tskOf(number)), { random: HOST_RANDOM.fill });

const configure = (number: number) =>
  step(`configure ${number}`, async (model, real) => {
    const encrypted_tsk = encodeBase64(real.sdk.wrap(tskOf(number), ARN));
    const reply = await real.ask({ type: "configure", encrypted_tsk, ...ACCESS });
    const works = model.callWorks();
    assertEquals(reply["status"], works ? "ok" : "error", JSON.stringify(reply));
    if (works) model.session = number;
  });

const process = (number: number) =>
  step(`process with key ${number}`, async (model, real) => {
    using key = await sealingKey(number);
    const reply = await real.ask({ type: "process", ciphertext: encodeHex(await key.seal(DIGEST)) });
    if (model.session !== number) {
      return assertEquals(reply["msg"], model.session === undefined ? "not_configured" : "decrypt_failed");
    }
    assertEquals(await key.open(decodeHex(String(reply["result"]))), DIGEST);
  });

const WHICH = { enclave_id: 1, kms_key_id: ARN, credential: CREDENTIAL };

/** A reply with a row: the key of the model, in this epoch. Keeps the row, as a parent does. */
function takeRow(model: Model, reply: WireObject, epoch: number): void {
  const { kms_encrypted_dek, encrypted_private_key, public_key, key_epoch } = reply;
  assertEquals([reply["status"], key_epoch], ["ok", epoch], JSON.stringify(reply));
  if (model.row !== undefined) assertEquals(public_key, model.row["public_key"]);
  model.master = { publicKey: String(public_key), epoch };
  model.row = { kms_encrypted_dek, encrypted_private_key, public_key, key_epoch };
}

const init = step("init", async (model, real) => {
  const reply = await real.ask({ ...WHICH, type: "master_key.init", ...model.row });
  // Without a row a key is made; with one it is opened, even where it is held.
  if (!model.callWorks()) return assertEquals(reply["status"], "error");
  assertEquals(reply["newly_generated"], model.row === undefined, JSON.stringify(reply));
  takeRow(model, reply, Number(model.row?.["key_epoch"] ?? 1));
});

/** The parent has not received the reply that had the row. The held key's row needs no call of KMS. */
const initAgain = step("init without the row", async (model, real) => {
  if (model.master === undefined) return;
  const reply = await real.ask({ ...WHICH, type: "master_key.init" });
  assertEquals(reply["newly_generated"], false, JSON.stringify(reply));
  takeRow(model, reply, model.master.epoch);
});

const rewrap = step("rewrap", async (model, real) => {
  const reply = await real.ask({ ...WHICH, new_kms_key_id: ARN, type: "master_key.rewrap" });
  if (model.master === undefined) return assertEquals(reply["msg"], "not_configured");
  if (!model.callWorks()) return assertEquals(reply["status"], "error");
  takeRow(model, reply, model.master.epoch + 1);
});

const sign = step("sign", async (model, real) => {
  const reply = await real.ask({ type: "master_key.sign", digest: encodeBase64(DIGEST) });
  if (model.master === undefined) return assertEquals(reply["msg"], "not_configured");
  assertEquals([reply["public_key"], reply["key_epoch"]], [model.master.publicKey, model.master.epoch]);
  assert(
    verifyDigest(decodeBase64(model.master.publicKey), DIGEST, decodeBase64(String(reply["signature"]))),
  );
});

const trouble = (what: Trouble) =>
  step(`the next call ${what}`, (model, real) => {
    model.troubles++;
    real.sdk.troubles.push(what);
    return Promise.resolve();
  });

const kill = step("kill the SDK processes", (_, real) => Promise.resolve(real.sdk.kill()));

const restart = step("restart", async (model, real) => {
  await real.restart();
  model.session = model.master = undefined;
});

const number = fc.integer({ min: 1, max: 3 });
const STEPS = fc.commands([
  number.map(configure),
  number.map(process),
  ...[init, initAgain, rewrap, sign, kill, restart].map((one) => fc.constant(one)),
  fc.constantFrom<Trouble>("hangs", "crashes").map(trouble),
], { maxCommands: 30 });

Deno.test("after any sequence of requests, lost processes, late calls and restarts, the keys in use are the model's", async () => {
  await fc.assert(
    fc.asyncProperty(STEPS, async (steps) => {
      await using real = new Real();
      await fc.asyncModelRun(() => ({ model: new Model(), real }), steps);
    }),
    runs(500),
  );
});
