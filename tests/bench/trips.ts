/**
 * The trips of a `configure` and of a wallet's signature, in files: from the socket's bytes to the SDK's KMS call,
 * and back. A file is on a trip when each request calls one of its functions, as V8's coverage counts. The SDK
 * process is measured by itself, since the service ends it by a signal.
 *
 *     deno run -A --lock=tests/deno.lock --frozen tests/bench/trips.ts     # needs deno task build:native
 *
 * @module
 */
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { frameOf } from "../../lib/enclave/kms/sdk_process/protocol.ts";
import type { KmsCall } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

const ROOT = new URL("../..", import.meta.url).href;
const CREDENTIALS = { aws_access_key_id: "AKID", aws_secret_access_key: "secret" };
/** A request, made of the reply to one before it. */
type Trip = (client: Client) => Promise<WireObject>;

const TRIPS: Readonly<Record<string, Trip>> = {
  "configure": () => {
    const encrypted_tsk = stubWrap(new Uint8Array(32), { context: TSK_CONTEXT }).toBase64();
    return Promise.resolve({ type: "configure", encrypted_tsk, ...CREDENTIALS });
  },
  "a wallet's signature": async (client) => {
    const request = { ...CREDENTIALS, apiRequest: "generateAccount", name: "a" };
    const row = (await client.exchange(request))["content"] as WireObject;
    return { ...CREDENTIALS, ...row, apiRequest: "sign", digest: "05".repeat(32), key_id: row["keyId"] };
  },
};

const MORE = 10;
const MAIN = ["run", "--quiet", "--no-prompt", "-A", new URL("main.ts", ROOT).pathname];

/** Calls of each function of the product in a process and its children, by file and place. */
async function callsIn(run: (env: Readonly<Record<string, string>>) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  await run({ DENO_COVERAGE_DIR: folder });
  const calls = new Map<string, number>();
  for (const { name } of Deno.readDirSync(folder)) {
    const { url, functions } = JSON.parse(Deno.readTextFileSync(`${folder}/${name}`));
    if (!url.startsWith(ROOT)) continue;
    for (const { ranges: [{ startOffset, count }] } of functions) {
      const place = `${url.slice(ROOT.length)} ${startOffset}`;
      calls.set(place, (calls.get(place) ?? 0) + count);
    }
  }
  await Deno.remove(folder, { recursive: true });
  return calls;
}

/** A service that gets a request so many times. */
const serve = (trip: Trip, times: number) =>
  callsIn(async (env) => {
    const args = [
      ...MAIN,
      "--listen=tcp:127.0.0.1:0",
      `--kms-key=${STUB_KEY_ARN}`,
      `--library-dir=${NATIVE_DIR}`,
    ];
    const service = await ServiceProcess.start({ command: Deno.execPath(), args, env });
    await service.logged("sdk_open");
    using client = await Client.connect(service.address);
    const request = await trip(client);
    for (let time = 0; time < times; time++) await client.request(request);
    await service.stop();
  });

/** An SDK process that makes a Decrypt so many times. */
const decrypt = (times: number) =>
  callsIn(async (env) => {
    const args = [...MAIN, "sdk-process", String(Deno.pid)];
    const child = new Deno.Command(Deno.execPath(), { args, env, stdin: "piped", stdout: "piped" }).spawn();
    const writer = child.stdin.getWriter();
    const limits = { proxyPort: 8000, seedBytes: 0, idleMs: 60_000, maxWarm: 4 };
    await writer.write(frameOf({ id: 0, op: "open", libraryDir: NATIVE_DIR, ...limits }));
    const bytesOf = (text: string) => new TextEncoder().encode(text);
    const credentials = {
      accessKeyId: bytesOf("A"),
      secretAccessKey: bytesOf("B"),
      sessionToken: bytesOf("C"),
    };
    const call: KmsCall = { kind: "decrypt", ciphertext: stubWrap(new Uint8Array(32)), keyId: STUB_KEY_ARN };
    for (let id = 1; id <= times; id++) {
      await writer.write(frameOf({ id, op: "call", region: "us-east-1", credentials, call }));
    }
    await writer.close();
    await child.output();
  });

/** Files with a function that each of {@link MORE} further requests has called. */
async function filesOf(calls: (times: number) => Promise<ReadonlyMap<string, number>>) {
  const [few, many] = [await calls(1), await calls(1 + MORE)];
  return [...many].filter(([place, count]) => count - (few.get(place) ?? 0) >= MORE)
    .map(([place]) => place.split(" ")[0]);
}

const inSdkProcess = await filesOf(decrypt);
for (const [name, trip] of Object.entries(TRIPS)) {
  const files = [...new Set([...await filesOf((times) => serve(trip, times)), ...inSdkProcess])].sort();
  console.log(`${name}: ${files.length} files\n  ${files.join("\n  ")}`);
}
