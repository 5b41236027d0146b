/** Security events: about keys and refusals. What a flood of bad requests cannot make the log forget. */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { Client } from "../../../../lib/ctl/client/client.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { startTestService } from "../../../helpers/test_service.ts";

const CREDENTIALS = { aws_access_key_id: "a", aws_secret_access_key: "b", aws_session_token: "c" };
const FLOOD = 1_200;

type Events = readonly WireObject[];

async function startService() {
  const kms = await LocalKms.open({ region: "us-east-1" });
  await kms.createKey();
  const [first = "", second = ""] = kms.keyArns;
  let clock = Date.parse("2026-01-01");
  const service = startTestService({
    kms,
    keys: kms.keyArns.map(parseKeyArn),
    // Of 250 lines in a second the log drops 50.
    events: new EventLog({ write: () => {}, level: "info", now: () => new Date(clock += 4) }),
  });
  const client = await Client.connect(service.address, { timeoutMs: 20_000 });
  const wrapped = encodeBase64(await kms.encrypt(first, new Uint8Array(32).fill(7)));
  const logs = async (request: object): Promise<Events> =>
    (await client.request({ type: "logs", ...request }))["events"] as Events;
  return {
    client,
    logs,
    first,
    second,
    configure: { type: "configure", encrypted_tsk: wrapped, kms_key_id: first, ...CREDENTIALS },
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      await service.stop(1_000);
    },
  };
}

const BAD: readonly WireObject[] = [
  { type: "none such" },
  { type: "configure" },
  { type: "process", ciphertext: "00" },
  { type: "attest" },
  { apiRequest: "sign", name: 1 },
  { type: "master_key.init", enclave_id: "2", kms_key_id: "none" },
];

Deno.test("keys that were made, opened, rewrapped or configured, and what was refused, are in the log after a flood of bad requests", async () => {
  await using service = await startService();
  const { client, logs, configure, first, second } = service;
  const ask = (request: object) => client.exchange({ ...request, ...CREDENTIALS });
  const flood = async () => {
    for (let n = 0; n < FLOOD; n++) await client.exchange({ ...BAD[n % BAD.length] });
  };
  const halfway = flood();
  await ask(configure);
  await ask({ ...configure, kms_key_id: first.replace("us-east-1", "us-east-2") });
  await ask({ ...configure, encrypted_tsk: "AAAA" });
  await ask({ apiRequest: "generateAccount", name: "alice", key_id: first });
  const row = await ask({ type: "master_key.init", enclave_id: 1, kms_key_id: first });
  await ask({ ...row, type: "master_key.init" });
  await ask({ type: "master_key.rewrap", new_kms_key_id: second });
  await halfway;
  await flood();

  const ordinary = await logs({ limit: 500 });
  assertEquals(ordinary.filter(({ event }) => event !== "request_failed" && event !== "log_suppressed"), []);
  const kept = await logs({ security: true });
  const keys = kept.filter(({ code }) => code === undefined);
  assertEquals(
    keys.map(({ event, newly_generated, epoch, name }) => [event, newly_generated ?? epoch ?? name]),
    [
      ["configured", undefined],
      ["account_generated", "alice"],
      ["master_key_initialised", true],
      ["master_key_initialised", false],
      ["master_key_rewrapped", 2],
    ],
  );
  const refused = (type: string, code: string) =>
    kept.find((event) => event["type"] === type && event["code"] === code);
  assertEquals(refused("configure", "key_not_allowed")?.["count"], 1);
  assertEquals(refused("configure", "kms_decrypt_failed")?.["count"], 1);
  const flooded = refused("unknown", "unknown_type");
  assertEquals(flooded?.["count"], Math.ceil(FLOOD / BAD.length) * 2);
  assert(String(flooded?.["time"]) < String(flooded?.["last"]));
  assert(kept.length < 30, `${kept.length} are kept`);
});

Deno.test("the events about keys are the last of each, and one kind displaces no other", () => {
  const events = new EventLog({ write: () => {}, level: "error" });
  events.log("info", "configured", { epoch: 1 });
  for (let n = 0; n < 1_000; n++) events.log("info", "account_generated", { name: `a${n}` });
  for (let n = 0; n < 1_000; n++) {
    events.log("warn", "request_failed", { type: "sign", code: "guard_refused" });
  }
  const kept = events.recentSecurity(500);
  assertEquals([kept[0]?.event, kept.length], ["configured", 34]);
  assertEquals([kept[1]?.["name"], kept.at(-2)?.["name"]], ["a968", "a999"]);
  assertEquals([kept.at(-1)?.["code"], kept.at(-1)?.["count"]], ["guard_refused", 1_000]);
  assertEquals(events.recent(500), []);
});

Deno.test("a workflow's own fields make no security event", () => {
  const events = new EventLog({ write: () => {}, level: "info" });
  for (let n = 0; n < 10; n++) events.log("warn", "workflow", { said: "no", type: "sign", code: `c${n}` });
  assertEquals(events.recentSecurity(500), []);
});
