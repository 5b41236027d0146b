/**
 * A program with an SDK process that hangs in a call: prints the child's process id, and waits to be killed. For `sdk_process_test.ts`.
 *
 * @module
 */
import { Credentials } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { childStarter } from "../../lib/enclave/children/child.ts";
import { SdkPool } from "../../lib/enclave/kms/sdk_process/pool.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { MODE, StubControl } from "../helpers/stub_control.ts";
import { stubWrap } from "../helpers/stub_format.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const REQUEST = "aws_nitro_enclaves_rest_client_request_blocking";
const control = StubControl.at(Deno.env.get("STUB_CONTROL") ?? "");
const pool = new SdkPool({
  start: childStarter({
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", "-A", MAIN, "sdk-process"],
    maxLength: 1 << 20,
  }),
  open: { libraryDir: NATIVE_DIR, proxyPort: 8000, seedBytes: 0, idleMs: 60_000, maxWarm: 8 },
  processes: 1,
  deadlines: { startMs: 60_000, connectMs: 60_000, callMs: 60_000, totalMs: 60_000 },
  maxClients: 64,
  maxWaiting: { decrypt: 4, generateDataKey: 4, generateRandom: 4 },
  log: () => {},
});
await pool.start();
control.script([REQUEST, MODE.hang + 100]);
const credentials = Credentials.fromStrings({ accessKeyId: "AKID", secretAccessKey: "s", sessionToken: "t" });
const hung = pool.call("us-east-1", credentials, {
  kind: "decrypt",
  ciphertext: stubWrap(new Uint8Array(32)),
});
hung.catch(() => {});
await control.called(REQUEST);
console.log(pool.pids[0]);
await hung;
