/**
 * What requests leave behind in the compiled binary: open descriptors of its processes, keys in AWS-LC's memory,
 * objects of the SDK. After a thousand requests of a type there must be as many as before.
 */
import { assert, assertEquals } from "@std/assert";
import { decodeBase64, decodeHex, encodeBase64 } from "@std/encoding";
import { Client } from "../../lib/ctl/client/client.ts";
import { SealedSender } from "../../lib/shared/sealed/mod.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import type { RequestType, WalletRequestType } from "../../lib/shared/wire/protocol.ts";
import { Tsk } from "../e2e/production_suite.ts";
import { count } from "../helpers/effort.ts";
import { Folder } from "../helpers/folder.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { type Launch, ServiceProcess } from "../helpers/service_process.ts";
import { skipTests } from "../helpers/skip.ts";
import { StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN } from "../helpers/stub_format.ts";

const REQUESTS = count(10_000, 1_000);
/** `health` repeats its checks, which open files, at most once a second. Milliseconds. */
const HEALTH_MS = 3_500;
const CREDENTIAL = { AccessKeyId: "AKIDTEST", SecretAccessKey: "made-for-tests", Token: "made-for-tests" };
const NONCE = encodeBase64(new Uint8Array(16));

/** Makes the requests of one type, one after the other. */
type Make = () => WireObject | Promise<WireObject>;

/** What a service was given: its session key, and a `configure` that wraps it. */
interface Given {
  readonly tsk: Tsk;
  readonly configure: WireObject;
  /** Whether it has a simulated NSM. */
  readonly attests: boolean;
}

/** The requests of every type, in an order in which each is answered, and whether the answer is an error. */
async function requestsOf(client: Client, { tsk, configure, attests }: Given) {
  const credential = { credential: CREDENTIAL };
  const init = { type: "master_key.init", enclave_id: 1, ...credential };
  await client.request({ ...configure });
  const made = await client.request({ ...init });
  const { content } = await client.request({ apiRequest: "generateAccount", name: "alice", ...credential });
  const row: WireObject = { ...made, ...init };
  const account = { name: "alice", ...content as WireObject };
  const sender = attests
    ? await SealedSender.create(
      decodeBase64(String((await client.request({ type: "attest", nonce: NONCE }))["public_key"])),
    )
    : undefined;
  const plain: Record<RequestType | WalletRequestType, Make> = {
    ping: () => ({ type: "ping" }),
    health: () => ({ type: "health" }),
    logs: () => ({ type: "logs", limit: 500 }),
    metrics: () => ({ type: "metrics" }),
    configure: () => ({ ...configure }),
    process: () => ({ type: "process", ciphertext: tsk.seal(new Uint8Array(64)) }),
    attest: () => ({ type: "attest", nonce: NONCE }),
    sealed: async () => ({ ...(await sender?.seal({ type: "ping" }))?.message, type: "sealed" }),
    "master_key.init": () => ({ ...row }),
    "master_key.verify": () => ({ ...row, type: "master_key.verify" }),
    "master_key.public_info": () => ({ type: "master_key.public_info" }),
    "master_key.sign": () => ({ type: "master_key.sign", digest: "ab".repeat(32) }),
    "master_key.rewrap": () => ({
      ...{ type: "master_key.rewrap", new_kms_key_id: made["kms_key_id"], ...credential },
    }),
    generateAccount: () => ({ apiRequest: "generateAccount", name: "bob", ...credential }),
    rewrapAccount: () => ({
      ...{ apiRequest: "rewrapAccount", ...account, new_key_id: made["kms_key_id"], ...credential },
    }),
    sign: () => ({ apiRequest: "sign", ...account, message: "words", ...credential }),
  };
  const refused: Readonly<Record<string, Make>> = {
    "configure, with a key that KMS does not open": () => ({
      ...configure,
      encrypted_tsk: encodeBase64(new Uint8Array(100)),
    }),
    "process, with a blob that does not open": () => ({ type: "process", ciphertext: "ab".repeat(60) }),
    "sign, with the row of another name": () => ({
      ...{ apiRequest: "sign", ...account, name: "another", message: "words", ...credential },
    }),
    "master_key.verify, with a changed row": () => ({
      ...{ ...row, type: "master_key.verify", encrypted_private_key: encodeBase64(new Uint8Array(60)) },
    }),
  };
  const needsNsm = (name: string) => !attests && (name === "attest" || name === "sealed");
  return [
    ...Object.entries(plain).map(([name, make]) => ({ name, make, isRefused: needsNsm(name) })),
    ...Object.entries(refused).map(([name, make]) => ({ name, make, isRefused: true })),
  ];
}

/** How many descriptors of these processes lead to what, and how many objects were alive at their last calls of C. */
async function heldBy(pids: readonly number[], control: StubControl): Promise<ReadonlyMap<string, number>> {
  const live = control.live();
  const held = new Map([...live].map(([process, objects]) => [`${process} objects`, objects]));
  for (const process of pids) {
    const { stdout } = await new Deno.Command("find", { args: [`/proc/${process}/fd`, "-printf", "%l\\n"] })
      .output();
    for (const target of new TextDecoder().decode(stdout).split("\n")) {
      held.set(`${process} ${target}`, (held.get(`${process} ${target}`) ?? 0) + 1);
    }
  }
  return held;
}

/** Compares what is held before and after requests of each type. Returns how many keys AWS-LC was given. */
async function compare(launch: Launch, control: StubControl, given: Given): Promise<number> {
  await using service = await ServiceProcess.start(launch);
  using client = await Client.connect(service.address);
  const differences: string[] = [];
  let keys = 0;
  const requests = await requestsOf(client, given);
  // The service, and its SDK process if it has one.
  const pids = [...new Set([service.pid, ...control.live().keys()])];
  for (const { name, make, isRefused } of requests) {
    const ask = async () => {
      const reply = await client.exchange(await make());
      assertEquals(reply["status"] === "error", isRefused, `${name}: ${JSON.stringify(reply)}`);
    };
    control.forget();
    // What is made once, such as a warm client, is made by these.
    for (let n = 0; n < 10; n++) await ask();
    const before = await heldBy(pids, control);
    const until = performance.now() + (name === "health" ? HEALTH_MS : 0);
    for (let n = 0; n < REQUESTS || performance.now() < until; n++) await ask();
    const after = await heldBy(pids, control);
    for (const key of new Set([...before.keys(), ...after.keys()])) {
      const [was = 0, is = 0] = [before.get(key), after.get(key)];
      if (was !== is) differences.push(`${name}: ${key}: ${was} before, ${is} after`);
    }
    keys += control.count("EVP_AEAD_CTX_new");
  }
  assertEquals(differences, []);
  return keys;
}

const DEV = `${NATIVE_DIR}/denclave-dev`;

Deno.test("development binary: with a simulated NSM, requests of no type leave a descriptor behind", async () => {
  await using folder = await Folder.make();
  const keys = `--kms-local-file=${folder.path}/keys.json`;
  const { stdout } = await new Deno.Command(DEV, {
    args: ["tsk", "create", keys, `--tsk-file=${folder.path}/tsk.hex`],
  }).output();
  using control = new StubControl();
  using tsk = new Tsk(decodeHex((await Deno.readTextFile(`${folder.path}/tsk.hex`)).trim()));
  await compare(
    { command: DEV, args: ["--listen", "tcp:127.0.0.1:0", "--simulate-nsm", keys] },
    control,
    {
      tsk,
      configure: {
        ...{ type: "configure", credential: CREDENTIAL },
        encrypted_tsk: new TextDecoder().decode(stdout).trim(),
      },
      attests: true,
    },
  );
});

const AWS_LC = `${NATIVE_DIR}/aws_lc/denclave-test`;
const isThere = await Deno.stat(AWS_LC).then(() => true, () => false);
if (!isThere) skipTests("keys in AWS-LC's memory, since it was not built (deno task build aws-lc says why)");

Deno.test({
  name: "binary: requests of no type leave a descriptor, a key of AWS-LC or an object of the SDK behind",
  ignore: !isThere,
  fn: async () => {
    using control = new StubControl();
    using tsk = new Tsk();
    const keys = await compare(
      {
        command: AWS_LC,
        args: ["--listen", "tcp:127.0.0.1:0", "--kms-key", STUB_KEY_ARN],
        env: control.env,
      },
      control,
      { tsk, configure: tsk.configure(), attests: false },
    );
    assert(keys > REQUESTS, `only ${keys} keys were counted`);
  },
});
