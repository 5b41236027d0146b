/**
 * The development service as its own process, with a small heap and a KMS that does not answer: what waits
 * keeps little.
 */
import { assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { Client } from "../../lib/ctl/client/client.ts";
import { devLaunch } from "../helpers/ctl_process.ts";
import { jsonAnswer, startScriptedKms } from "../helpers/scripted_kms.ts";
import { within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const CREDENTIALS = { aws_access_key_id: "AKID", aws_secret_access_key: "secret" };
const HEAP_LIMIT_MIB = 128;
const BUDGET = 140 * 1024 * 1024;
/**
 * Of the objects that JSON can make, these take most memory for their length; half of the budget allows this
 * many in one message.
 */
const OBJECTS = Array.from({ length: 75_000 }, () => ({ 34: 0 }));
const WAIT_MS = 60_000;

/**
 * Resolves when a request is answered, or has been read and waits: by then the service has answered many
 * others.
 */
async function answeredOrWaits(client: Client, reply: Promise<unknown>): Promise<void> {
  let isAnswered = false;
  void reply.finally(() => isAnswered = true).catch(() => {});
  for (let turn = 0; turn < 50 && !isAnswered; turn++) await client.exchange({ type: "ping" });
}

Deno.test("seven rewraps of megabytes, while KMS is slow, do not end a service with a small heap", async () => {
  const slow = Promise.withResolvers<void>();
  const key = {
    Plaintext: encodeBase64(new Uint8Array(32)),
    CiphertextBlob: encodeBase64(new Uint8Array(64)),
  };
  await using kms = startScriptedKms(async (_, index) => {
    if (index > 0) await slow.promise;
    return jsonAnswer({ ...key, KeyId: ARN });
  });
  using _answering = { [Symbol.dispose]: slow.resolve };
  const launch = devLaunch([
    "--kms=aws",
    `--kms-key=${ARN}`,
    `--kms-endpoint-url=${kms.url}`,
    `--max-in-flight=${BUDGET}`,
  ]);
  const [run = "", ...rest] = launch.args;
  await using service = await ServiceProcess.start({
    ...launch,
    args: [run, `--v8-flags=--max-old-space-size=${HEAP_LIMIT_MIB}`, ...rest],
  });
  using clients = new DisposableStack();
  const connect = async () => clients.use(await Client.connect(service.address, { timeoutMs: WAIT_MS }));
  const client = await connect();
  const init = { type: "master_key.init", enclave_id: 1, kms_key_id: ARN, ...CREDENTIALS };
  assertEquals((await client.exchange(init))["status"], "ok");
  const rewrap = { type: "master_key.rewrap", new_kms_key_id: ARN, ...CREDENTIALS };
  const first = (await connect()).exchange(rewrap);
  const codes: Promise<unknown>[] = [];
  for (let count = 0; count < 7; count++) {
    const reply = (await connect()).exchange({ ...rewrap, enclave_id: OBJECTS });
    codes.push(reply.then(({ msg }) => msg, () => "lost"));
    await within(answeredOrWaits(client, reply), "the arrival of a request", WAIT_MS);
  }
  slow.resolve();
  assertEquals((await within(first, "the first rewrap", WAIT_MS))["status"], "ok");
  assertEquals([...new Set(await Promise.all(codes))], ["missing_fields"]);
});
