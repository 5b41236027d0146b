/**
 * The compiled binary with a workflow that attacks it: the session key, the master key, the wallet and the requests of others stay right, and
 * the service returns to the descriptors and the memory that it had.
 */
import { assert, assertEquals } from "@std/assert";
import { Client } from "../../lib/ctl/client/client.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { Tsk } from "../e2e/production_suite.ts";
import { childrenOf, printed } from "../helpers/children.ts";
import { until, within } from "../helpers/deadline.ts";
import { count } from "../helpers/effort.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN } from "../helpers/stub_format.ts";
import { ATTACKS } from "../helpers/workflow_attacks.ts";

const FOLDER = `${NATIVE_DIR}/hostile`;
const CREDENTIAL = { AccessKeyId: "AKIDTEST", SecretAccessKey: "made-for-tests", Token: "made-for-tests" };
const MIB = 1024 * 1024;
const REQUEST_MS = 10_000;
const DIGEST = "05".repeat(32);

const descriptorsOf = (pid: number) => Number(printed(`ls /proc/${pid}/fd | wc -l`));
const residentOf = (pid: number) => 1024 * Number(printed(`awk '/^VmRSS/ { print $2 }' /proc/${pid}/status`));

/** A service with all three kinds of key, and what each of them gives. */
async function start(flags: readonly string[]) {
  await using stack = new AsyncDisposableStack();
  const control = stack.use(new StubControl());
  const service = stack.use(
    await ServiceProcess.start({
      command: `${FOLDER}/denclave-test`,
      args: ["--listen=tcp:127.0.0.1:0", `--kms-key=${STUB_KEY_ARN}`, ...flags],
      env: control.env,
    }),
  );
  const tsk = stack.use(new Tsk());
  const connect = async () =>
    clients.use(await Client.connect(service.address, { timeoutMs: 2 * REQUEST_MS }));
  const clients = stack.use(new DisposableStack());
  const client = await connect();
  await client.request(tsk.configure());
  const ask = async (text: string, from: Client = client) => {
    const ciphertext = tsk.seal(new TextEncoder().encode(text));
    const reply = await from.exchange({ type: "process", ciphertext });
    return reply["status"] === "ok"
      ? new TextDecoder().decode(tsk.open(reply["result"]))
      : `error ${reply["msg"]}`;
  };
  const made = await client.exchange({
    apiRequest: "generateAccount",
    credential: CREDENTIAL,
    name: "alice",
  });
  const row = made["content"] as WireObject;
  await client.request({ type: "master_key.init", enclave_id: 1, credential: CREDENTIAL });
  const sign = async (from: Client = client) => {
    const request = { ...row, apiRequest: "sign", credential: CREDENTIAL, digest: DIGEST };
    return JSON.stringify(await from.exchange(request));
  };
  const masterKey = async (from: Client = client) =>
    JSON.stringify(
      await from.exchange({ type: "master_key.sign", digest: btoa("\x05".repeat(32)), scheme: "ecdsa" }),
    );
  // Both signatures are deterministic (RFC 6979).
  const right = [await sign(), await masterKey()];
  assert(right.every((reply) => reply.includes("ignature")), right.join());
  /** All keys are as they were, and work. */
  const check = async (because: string) => {
    assertEquals([await ask("echo"), await sign(), await masterKey()], ["echo", ...right], because);
  };
  const watching = await connect();
  const workflow = async () => (await watching.exchange({ type: "health" }))["workflow"] as WireObject;
  const owned = stack.move();
  return {
    ...{ service, client, connect, ask, sign, right, check, workflow },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("hostile workflow: whatever it does, all keys work, others get their own answers, and nothing is left behind", async (t) => {
  const flags = ["--workflow-processes=1", "--workflow-ms=1000", `--request-ms=${REQUEST_MS}`];
  await using rig = await start([...flags, "--kms-deadline-ms=9000"]);
  const { service } = rig;
  const [other, pinging] = [await rig.connect(), await rig.connect()];
  const configuredAt = (await rig.client.exchange({ type: "health" }))["configured_at"];
  await rig.check("before");
  const settled = () =>
    until("two workflow processes and one of the SDK", () => childrenOf(service.pid).length === 3);
  await settled();
  const before = { descriptors: descriptorsOf(service.pid), resident: residentOf(service.pid) };
  for (let round = 0; round < count(1_000, 2); round++) {
    for (const [way, ...expected] of ATTACKS) {
      await t.step(`${way} (${round})`, async () => {
        const [answer, beside, pong] = await Promise.all([
          rig.ask(way),
          rig.ask(`other ${round}`, other),
          within(pinging.exchange({ type: "ping" }), "a ping", 1_000),
        ]);
        assert(expected.includes(answer), `${way}: ${answer}`);
        // Handed to the same process, it may be lost with it, and is never answered with another's.
        assert([`other ${round}`, "error workflow_lost"].includes(beside), beside);
        assertEquals(pong["status"], "ok");
        await rig.check(way);
      });
    }
  }
  await settled();
  await until("the descriptors", () => descriptorsOf(service.pid) <= before.descriptors);
  const grown = residentOf(service.pid) - before.resident;
  assert(grown < 64 * MIB, `${Math.round(grown / MIB)} MiB more`);
  const { configured_at } = await rig.client.exchange({ type: "health" });
  assertEquals([configured_at, (await service.stop()).code], [configuredAt, 0]);
});

Deno.test("hostile workflow: a package that does something when it is imported does it in the workflow's process only", async () => {
  await using rig = await start([]);
  const importedBy = Number(await rig.ask("says where it was imported"));
  assert(childrenOf(rig.service.pid).includes(importedBy), `imported by ${importedBy}`);
  const { timestamp } = await rig.client.exchange({ type: "ping" });
  const late = Date.parse(String(timestamp)) - Date.now();
  assert(Math.abs(late) < 60_000, `the service's clock is ${late} ms off`);
  assertEquals((await rig.service.stop()).code, 0);
  assertEquals(rig.service.stderr, "");
});

Deno.test("hostile workflow: children of both kinds that are killed under load cost no wrong answer, no key and no deadline", async () => {
  const flags = ["--workflow-processes=2", "--sdk-processes=2", `--request-ms=${REQUEST_MS}`];
  await using rig = await start([...flags, "--kms-deadline-ms=9000"]);
  const { service } = rig;
  await rig.check("before");
  const outcomes: Record<string, number> = {};
  let isRunning = true;
  const caller = async (index: number) => {
    const client = await rig.connect();
    for (let request = 0; isRunning; request++) {
      const begun = performance.now();
      const isSigning = index % 2 === 1;
      const text = `${index} ${request} ${"x".repeat(request % 5_000)}`;
      const answer = isSigning ? await rig.sign(client) : await rig.ask(text, client);
      const [expected, refused] = isSigning
        ? [rig.right[0], /"apiResponse":"errorResponse".*(busy|timeout|kms_decrypt_failed|KMS)/]
        : [text, /^error (workflow_lost|busy|timeout)$/];
      assert(answer === expected || refused.test(answer), answer.slice(0, 300));
      const outcome = answer === expected
        ? "right"
        : (/busy|timeout|\w+_lost|\w+_failed/.exec(answer) ?? [""])[0];
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      const took = performance.now() - begun;
      assert(took < REQUEST_MS + 1_000, `it took ${took} ms`);
    }
  };
  const load = Promise.all([...Array(8).keys()].map(caller));
  load.catch(() => {});
  for (let kill = 0; kill < count(400, 16); kill++) {
    await new Promise((resolve) => setTimeout(resolve, 50 + 200 * Math.random()));
    const children = childrenOf(service.pid);
    const chosen = children[Math.floor(Math.random() * children.length)];
    try {
      if (chosen !== undefined) Deno.kill(chosen, "SIGKILL");
    } catch {
      // It had ended.
    }
  }
  isRunning = false;
  await within(load, "the callers", 2 * REQUEST_MS);
  await until("all keys", () => rig.check("after").then(() => true, () => false));
  await until("all children", () => childrenOf(service.pid).length === 5);
  assert((outcomes["right"] ?? 0) > 100, JSON.stringify(outcomes));
  assertEquals((await service.stop()).code, 0);
});

Deno.test("hostile workflow: a service that is killed while a workflow loops leaves no process", async () => {
  await using rig = await start(["--workflow-ms=600000", "--request-ms=600000"]);
  const looping = rig.ask("loops");
  looping.catch(() => {});
  await until("the workflow", async () => (await rig.workflow())["busy"] === 1);
  const { pid } = rig.service;
  assert(childrenOf(pid).length >= 2);
  await rig.service.stop("SIGKILL");
  await until("their end", () => childrenOf(pid).length === 0);
});
