/**
 * The service as its own process, under 64 connections that send the worst messages, with the heap limit that
 * V8 chooses in an enclave of 2048 MB: its resident memory stays below a bound, and it goes on serving.
 */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { Client } from "../../lib/ctl/client/client.ts";
import { type Address, writeAll } from "../../lib/shared/wire/address.ts";
import { encodeMessage, FrameDecoder } from "../../lib/shared/wire/framing.ts";
import { parseObject } from "../../lib/shared/wire/messages.ts";
import { peakResident } from "../helpers/memory.ts";
import { jsonAnswer, startScriptedKms } from "../helpers/scripted_kms.ts";
import { within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { Tsk } from "./production_suite.ts";

const CONNECTIONS = 64;
const LENGTH = 10 * 1024 * 1024;
/** What the documents state: an enclave of 2048 MB has room for this, its kernel and its file system. */
const MOST_RESIDENT = 1_200 * 1024 * 1024;
/** More than a connection keeps while its request waits, and far less than a message. Bytes. */
const IDLE_BUFFER = 32 * 1024;
/** Far beyond what any step takes, on a machine that does other work too. Milliseconds. */
const FLOOD_MS = 300_000;
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

/** Makes a message longer than what a connection keeps of its buffer between requests. */
const FILLER = "x".repeat(2_400_000);
/** Values, and the length of the message with as many as half of the memory for messages allows. Bytes. */
const VALUES = [["{}", 3_250_000], ["[]", 6_800_000], ['{"0":0}', 4_450_000], [
  '{"34":0}',
  4_700_000,
]] as const;

/**
 * A message of the largest size: the request, and a field that repeats an item for as long as there is room.
 */
function stuffed(request: Readonly<Record<string, unknown>>, item: string, length = LENGTH): Uint8Array {
  const head = JSON.stringify({ ...request, x: "@" }).replace('"@"}', "[");
  const count = Math.floor((length - head.length - 2) / (item.length + 1));
  const body = new TextEncoder().encode(`${head}${`${item},`.repeat(count - 1)}${item}]}`);
  const framed = new Uint8Array(4 + body.length);
  new DataView(framed.buffer).setUint32(0, body.length);
  framed.set(body, 4);
  return framed;
}

/** The code of the reply; `closed` when the service closed first. */
async function readCode(stream: Deno.TcpConn): Promise<string> {
  const decoder = new FrameDecoder();
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
}

/** How a flood goes on once each message has been sent or refused. */
interface Flood {
  /** What happens before the rest is sent. */
  readonly meanwhile?: () => Promise<void>;
  /** The length of the rest. Bytes. */
  readonly withheld?: number;
}

/**
 * Sends a message over every connection at once. @returns the codes of the replies; nothing here depends on
 * how fast they come
 */
async function flood(
  address: Address,
  message: Uint8Array,
  { meanwhile, withheld = 0 }: Flood = {},
): Promise<readonly string[]> {
  assert(address.transport === "tcp");
  const goOn = Promise.withResolvers<void>();
  const first = message.subarray(0, message.length - withheld);
  const sent = Array.from({ length: CONNECTIONS }, () => {
    const settled = Promise.withResolvers<void>();
    const replied = (async () => {
      using stream = await Deno.connect(address);
      const sending = (async () => {
        await writeAll(stream, first, "tcp");
        settled.resolve();
        await goOn.promise;
        await writeAll(stream, message.subarray(first.length), "tcp");
      })().catch(() => {});
      // The service closes the connection of a refused message that goes on: the reply may be lost.
      const code = await readCode(stream).catch(() => "closed");
      settled.resolve();
      await sending;
      return code;
    })();
    return { settled: settled.promise, replied };
  });
  await within(Promise.all(sent.map(({ settled }) => settled)), "64 messages", FLOOD_MS);
  await meanwhile?.();
  goOn.resolve();
  return await within(Promise.all(sent.map(({ replied }) => replied)), "64 replies", FLOOD_MS);
}

Deno.test("64 connections of the worst messages leave an enclave of 2048 MB serving", async (t) => {
  let slow = Promise.withResolvers<void>();
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
      // No request ends because the machine is slow.
      `--request-ms=${FLOOD_MS}`,
      `--idle-ms=${FLOOD_MS}`,
    ],
  });
  const { address } = service;
  using client = await Client.connect(address, { timeoutMs: FLOOD_MS });
  /**
   * Waits until all that arrived is parsed or refused. Between two answers, the service reads from every
   * connection that has bytes.
   */
  const parsed = async () => {
    for (let low = 0; low < 2;) {
      const { memory_in_flight, connections } = await client.exchange({ type: "health" });
      low = Number(memory_in_flight) <= Number(connections) * IDLE_BUFFER ? low + 1 : 0;
    }
  };
  const check = async (name: string, codes: readonly string[], expected: readonly string[]) => {
    const peak = await peakResident(service.pid);
    assert(peak < MOST_RESIDENT, `${name}: peak of ${Math.round(peak / 2 ** 20)} MiB`);
    assertEquals((await client.exchange({ type: "ping" }))["status"], "ok");
    assertEquals([...new Set(codes)].filter((code) => ![...expected, "busy", "closed"].includes(code)), []);
  };
  assertEquals((await client.exchange(CONFIGURE))["status"], "ok");

  await t.step("configures of as many values as are taken, while KMS is slow", async () => {
    // Those that may not even be parsed are answered; nothing waits for KMS.
    const codes = await flood(address, stuffed(CONFIGURE, "{}"));
    await check("10 MiB of {}", codes, ["message_too_large"]);
  });
  for (const [item, length] of VALUES) {
    await t.step(
      `configures with as much ${item} as half of the budget allows, while KMS is slow`,
      async () => {
        const codes = await flood(address, stuffed({ ...CONFIGURE, filler: FILLER }, item, length), {
          meanwhile: async () => {
            await within(parsed(), "parsing", FLOOD_MS);
            slow.resolve();
          },
        });
        // The development KMS waits for 20 s at most: on a slow machine this is how a request that waited for
        // it ends.
        const waited = ["ok", "timeout"];
        await check(`much ${item}`, codes, waited);
        assert(codes.some((code) => waited.includes(code)));
        slow = Promise.withResolvers();
      },
    );
  }
  slow.resolve();
  await t.step("credentials of megabytes in requests that wait for KMS", async () => {
    const request = { apiRequest: "generateAccount", name: "alice", kms_key_id: ARN, ...CREDENTIALS };
    const message = encodeMessage("u32be", { ...request, aws_session_token: "t".repeat(LENGTH * 0.9) });
    const codes = await flood(address, message);
    await check("credentials", codes, ["missing_fields"]);
  });
  await t.step("process of 10 MiB", async () => {
    using tsk = new Tsk(TSK);
    const ciphertext = tsk.seal(new Uint8Array(LENGTH / 2 - 4096));
    const codes = await flood(address, encodeMessage("u32be", { type: "process", ciphertext }));
    await check("process", codes, ["ok"]);
    assert(codes.includes("ok"));
  });
  await t.step("messages that stop before their last byte", async () => {
    const codes = await flood(address, stuffed({ type: "ping" }, "1"), { withheld: 100 });
    await check("incomplete", codes, ["message_too_large"]);
    assert(codes.includes("message_too_large") && codes.some((code) => ["busy", "closed"].includes(code)));
  });
  await t.step("reserved memory is released", async () => {
    await within(parsed(), "the end of the connections", FLOOD_MS);
    assertEquals((await client.exchange({ type: "health" }))["configured"], true);
  });
});
