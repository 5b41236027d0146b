/**
 * The service as its own process, under 64 connections that send the worst messages, with the heap limit that V8 chooses in an enclave of 2048 MB: its
 * resident memory stays below a bound, and it goes on serving.
 */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { Client } from "../../lib/parent/client.ts";
import { type Address, writeAll } from "../../lib/wire/address.ts";
import { encodeMessage, FrameDecoder } from "../../lib/wire/framing.ts";
import { parseObject } from "../../lib/wire/messages.ts";
import { HOST_RANDOM } from "../../lib/crypto/host_random.ts";
import { SealingKey } from "../../lib/crypto/sealing.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { jsonAnswer, startScriptedKms } from "../helpers/scripted_kms.ts";
import { ServiceProcess, within } from "../helpers/service_process.ts";

const CONNECTIONS = 64;
const LENGTH = 10 * 1024 * 1024;
/** What the documents state: an enclave of 2048 MB has room for this, its kernel and its file system. */
const MOST_RESIDENT = 1_200 * 1024 * 1024;
/** V8's own limit on a machine of 2048 MB: half of it. MB. */
const HEAP_LIMIT = 1024;
const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const TSK = new Uint8Array(32).fill(7);
const CREDENTIALS = { aws_access_key_id: "AKID", aws_secret_access_key: "secret" };
const CONFIGURE = {
  type: "configure",
  kms_key_id: ARN,
  encrypted_tsk: encodeBase64(new Uint8Array(64)),
  ...CREDENTIALS,
};

/** A message of the largest size: the request, and a field that repeats an item for as long as there is room. */
function stuffed(request: Readonly<Record<string, unknown>>, item: string, length = LENGTH): Uint8Array {
  const head = JSON.stringify({ ...request, x: "@" }).replace('"@"}', "[");
  const count = Math.floor((length - head.length - 2) / (item.length + 1));
  const body = new TextEncoder().encode(`${head}${`${item},`.repeat(count - 1)}${item}]}`);
  const framed = new Uint8Array(4 + body.length);
  new DataView(framed.buffer).setUint32(0, body.length);
  framed.set(body, 4);
  return framed;
}

/** The most memory that a process has had. Bytes. */
async function peakResident(pid: number): Promise<number> {
  // By another program: Deno reads /proc only with every permission.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`] }).output();
  const [, kilobytes = ""] = /VmHWM:\s+(\d+) kB/.exec(new TextDecoder().decode(stdout)) ?? [];
  assert(kilobytes !== "");
  return Number(kilobytes) * 1024;
}

/** Sends a message and gives the code of the reply; `closed` when the service closed first. */
async function send(address: Address, message: Uint8Array): Promise<string> {
  assert(address.transport === "tcp");
  using stream = await Deno.connect(address);
  const decoder = new FrameDecoder();
  const sending = writeAll(stream, message, "tcp").catch(() => {});
  try {
    for (;;) {
      const frame = decoder.next();
      if (frame !== undefined) {
        assert(!("problem" in frame));
        const reply = parseObject(frame.body);
        return reply["status"] === "ok" ? "ok" : String(reply["msg"]);
      }
      const length = await stream.read(decoder.space());
      if (length === null) return "closed";
      decoder.commit(length);
    }
  } catch {
    return "closed";
  } finally {
    await sending;
  }
}

function flood(address: Address, message: Uint8Array): Promise<readonly string[]> {
  return within(
    120_000,
    "64 replies",
    Promise.all(Array.from({ length: CONNECTIONS }, () => send(address, message))),
  );
}

Deno.test("64 connections of the worst messages leave an enclave of 2048 MB serving", async (t) => {
  const slow = Promise.withResolvers<void>();
  await using kms = startScriptedKms(async (_, index) => {
    if (index > 0) await slow.promise;
    return jsonAnswer({ Plaintext: encodeBase64(TSK), KeyId: ARN });
  });
  await using service = await ServiceProcess.start({
    command: Deno.execPath(),
    args: [
      "run",
      "--no-prompt",
      "--quiet",
      "--lock=deno.lock",
      "--frozen",
      `--v8-flags=--max-old-space-size=${HEAP_LIMIT}`,
      "-A",
      "scripts/dev.ts",
      "--listen=tcp:127.0.0.1:0",
      "--kms=aws",
      `--kms-key=${ARN}`,
      `--kms-endpoint-url=${kms.url}`,
      // One for the questions of the test itself.
      `--max-connections=${CONNECTIONS + 1}`,
      "--request-ms=8000",
      "--idle-ms=8000",
    ],
  });
  const { address } = service;
  const ping = encodeMessage("u32be", { type: "ping" });
  const serves = async () => assertEquals(await send(address, ping), "ok");
  const check = async (name: string) => {
    const peak = await peakResident(service.pid);
    assert(peak < MOST_RESIDENT, `${name}: peak of ${Math.round(peak / 2 ** 20)} MiB`);
    await serves();
  };
  assertEquals(await send(address, encodeMessage("u32be", CONFIGURE)), "ok");

  await t.step("configures of as many values as are taken, while KMS is slow", async () => {
    const flooding = flood(address, stuffed(CONFIGURE, "{}"));
    // Those that may not even be parsed are answered; nothing waits for KMS.
    const codes = await flooding;
    await check("10 MiB of {}");
    assertEquals(codes.filter((code) => code === "ok"), []);
  });
  for (const item of ["{}", "[]", '{"0":0}']) {
    await t.step(
      `configures with as much ${item} as half of the budget allows, while KMS is slow`,
      async () => {
        const codes = await flood(address, stuffed(CONFIGURE, item, LENGTH * 0.4));
        await check(`4 MiB of ${item}`);
        assert(codes.every((code) => ["busy", "timeout", "closed", "kms_decrypt_failed"].includes(code)));
      },
    );
  }
  await t.step("credentials of megabytes in requests that wait for KMS", async () => {
    const request = { apiRequest: "generateAccount", name: "alice", kms_key_id: ARN, ...CREDENTIALS };
    const message = encodeMessage("u32be", { ...request, aws_session_token: "t".repeat(LENGTH * 0.9) });
    const codes = await flood(address, message);
    await check("credentials");
    assert(codes.every((code) => ["missing_fields", "busy"].includes(code)), codes.join());
  });
  await t.step("process of 10 MiB", async () => {
    using secret = new SecretBytes(new Uint8Array(TSK));
    using key = await SealingKey.take(secret, { random: HOST_RANDOM.fill });
    const ciphertext = encodeHex(await key.seal(new Uint8Array(LENGTH / 2 - 4096)));
    const codes = await flood(address, encodeMessage("u32be", { type: "process", ciphertext }));
    await check("process");
    assert(codes.includes("ok"));
  });
  await t.step("messages that stop before their last byte", async () => {
    const message = stuffed({ type: "ping" }, "1").subarray(0, LENGTH - 100);
    const codes = await flood(address, message);
    await check("incomplete");
    assert(codes.includes("timeout") && codes.includes("busy"));
  });
  await t.step("reserved memory is released", async () => {
    using client = await Client.connect(address);
    const health = await client.exchange({ type: "health" });
    assertEquals(health["configured"], true);
    assert(Number(health["memory_in_flight"]) < 1024 * 1024, String(health["memory_in_flight"]));
  });
  slow.resolve();
});
