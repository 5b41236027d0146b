/**
 * The dry run's first section: the session key service, from its start to its end, over a real socket, with the local KMS.
 *
 * @module
 */
import { TSK_CONTEXT } from "../../shared/aws/tsk_context.ts";
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { timingSafeEqual } from "@std/crypto";
import type { Report } from "./report.ts";
import { HOST_RANDOM } from "../../shared/crypto/host_random.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { KEY_LENGTH, SealingKey } from "../../shared/crypto/sealing.ts";
import { Client } from "../../ctl/client/client.ts";
import { LocalKms } from "../kms/local.ts";
import { DEFAULT_LIMITS } from "../defaults.ts";
import { type Address, formatAddress } from "../../shared/wire/address.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import { workflow } from "../../workflow.ts";
import { startDryRunService } from "./service.ts";

const REGION = "us-east-1";
/** The local KMS does not check credentials. */
const CREDENTIALS = {
  aws_access_key_id: "dry-run",
  aws_secret_access_key: "dry-run",
  aws_session_token: "dry-run",
};

/** A key as the client of the service has it. */
function newKey(): { readonly raw: Uint8Array<ArrayBuffer>; readonly key: SealingKey } {
  const raw = crypto.getRandomValues(new Uint8Array(KEY_LENGTH));
  return { raw, key: new SealingKey(SecretBytes.copyOf(raw), { random: HOST_RANDOM.fill }) };
}

function expectError(reply: WireObject, code: string): string {
  if (reply["status"] === "error" && reply["msg"] === code) return `refused: ${code}`;
  throw new Error(`expected ${code}, got ${JSON.stringify(reply).slice(0, 200)}`);
}

function expectOk(reply: WireObject): WireObject {
  if (reply["status"] === "ok") return reply;
  throw new Error(`expected ok, got ${JSON.stringify(reply).slice(0, 200)}`);
}

async function processPayload(client: Client, key: SealingKey, size: number): Promise<string> {
  const payload = new Uint8Array(size);
  // getRandomValues gives 64 KiB at most.
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(payload.subarray(at, at + 65_536));
  const ciphertext = encodeHex(key.seal(payload));
  const reply = expectOk(await client.exchange({ type: "process", ciphertext }));
  if (reply["result"] === ciphertext) throw new Error("the result was not sealed anew");
  const opened = key.open(decodeHex(String(reply["result"])));
  const expected = await workflow(payload, {
    requestId: "dry run",
    signal: new AbortController().signal,
    log: () => {},
  });
  if (opened.length !== expected.length || !timingSafeEqual(opened, expected)) {
    throw new Error("the result is not what the workflow makes of it");
  }
  return `${size} bytes opened, processed, sealed under a fresh nonce`;
}

/** Sends bytes as they are on a connection of their own, and gives what comes back until the first newline or the end. */
async function exchangeRaw(address: Address, bytes: Uint8Array): Promise<string> {
  if (address.transport !== "tcp") throw new TypeError("the dry run listens on TCP");
  using stream = await Deno.connect(address);
  await stream.write(bytes);
  const buffer = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\n")) {
    const length = await stream.read(buffer);
    if (length === null) break;
    text += new TextDecoder().decode(buffer.subarray(0, length));
  }
  return text;
}

/** Runs the section. */
export async function dryRunSession(report: Report): Promise<void> {
  report.section(
    "Session key service (TCP loopback; the local KMS stands in for AWS KMS, without attestation)",
  );
  await using kms = await LocalKms.open({ region: REGION });
  const [keyArn = ""] = kms.keyArns;
  const service = await startDryRunService(kms, { session: { region: REGION, context: TSK_CONTEXT } });
  const { address } = service;
  const client = await Client.connect(address, { timeoutMs: 10_000 });
  const tsk = newKey();
  const other = newKey();
  const configure = (wrapped: Uint8Array) =>
    client.exchange({ type: "configure", encrypted_tsk: encodeBase64(wrapped), ...CREDENTIALS });
  const wrapped = await kms.encrypt(keyArn, tsk.raw, TSK_CONTEXT);

  const ask = (request: WireObject) => client.exchange(request);
  const process = (blob: Uint8Array) => ask({ type: "process", ciphertext: encodeHex(blob) });
  const flipped = (blob: Uint8Array, at: number) => blob.with(at, (blob.at(at) ?? 0) ^ 1);
  const refuse = (name: string, code: string, run: () => Promise<WireObject>) =>
    report.step(name, async () => expectError(await run(), code));

  await report.step("listening", async () => {
    return `${formatAddress(address)}, ${String(expectOk(await ask({ type: "ping" }))["msg"])}`;
  });
  await refuse("process before configure", "not_configured", () => process(new Uint8Array(28)));
  for (
    const [name, make] of [
      ["wrapped key tampered with", () => Promise.resolve(flipped(wrapped, -1))],
      [
        "wrapped for another purpose",
        () => kms.encrypt(keyArn, tsk.raw, { app: "denclave", purpose: "wallet" }),
      ],
      ["key of 16 bytes", () => kms.encrypt(keyArn, tsk.raw.subarray(0, 16), TSK_CONTEXT)],
    ] as const
  ) await refuse(`configure, ${name}`, "kms_decrypt_failed", async () => configure(await make()));
  await report.step(
    "configure: the KMS releases the key",
    async () => `key held in memory since ${String(expectOk(await configure(wrapped))["timestamp"])}`,
  );
  await report.step("process 1 KiB", () => processPayload(client, tsk.key, 1024));
  await report.step("process 1 MiB", () => processPayload(client, tsk.key, 1024 * 1024));
  const blob = new Uint8Array(64);
  await refuse("process, sealed under another key", "decrypt_failed", () => process(other.key.seal(blob)));
  await refuse(
    "process, one bit of the blob changed",
    "decrypt_failed",
    () => process(flipped(tsk.key.seal(blob), 20)),
  );
  await refuse(
    "message over 10 MiB",
    "message_too_large",
    () => ask({ type: "process", ciphertext: "00".repeat(DEFAULT_LIMITS.maxMessage / 2) }),
  );
  await report.step("same connection still serves", () => processPayload(client, tsk.key, 64));
  await refuse(
    "wrong JSON",
    "invalid_json",
    async () => JSON.parse(await exchangeRaw(address, new TextEncoder().encode('{"type": ping}\n'))),
  );
  await refuse("unknown type", "unknown_type", () => ask({ type: "proces" }));
  await refuse("fields missing", "missing_fields", () => ask({ type: "configure" }));
  for (const framing of ["raw", "u64le"] as const) {
    await report.step(`the same port, framing ${framing}`, async () => {
      using speaker = await Client.connect(address, { framing, timeoutMs: 10_000 });
      return `${String(expectOk(await speaker.exchange({ type: "ping" }))["msg"])}, in kind`;
    });
  }
  await report.step("rotate: a new key while serving", async () => {
    expectOk(await configure(await kms.encrypt(keyArn, other.raw, TSK_CONTEXT)));
    expectError(await process(tsk.key.seal(new Uint8Array(8))), "decrypt_failed");
    return `${await processPayload(client, other.key, 1024)}; the old key is gone`;
  });
  await report.step("health", async () => {
    const { configured, seals } = expectOk(await ask({ type: "health" }));
    return `configured ${String(configured)}, ${String(seals)} seals under this key`;
  });
  await report.step("shut down", async () => {
    await service[Symbol.asyncDispose]();
    const gone = await client.exchange({ type: "ping" }).then(() => false, () => true);
    if (!gone) throw new Error("the connection is still served");
    return "drained, keys wiped, connection closed";
  });
  client[Symbol.dispose]();
  for (const { raw, key } of [tsk, other]) {
    raw.fill(0);
    key[Symbol.dispose]();
  }
}
