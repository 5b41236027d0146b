/** SDK processes as children of this one. The SDK is the C stand-in, which fails, hangs and crashes as scripted. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LIBC_PATHS } from "../../ffi/libc.ts";
import {
  Credentials,
  type KmsCall,
  type KmsCallResult,
  SdkError,
  type SdkErrorCode,
  SdkKmsClientError,
  SdkKmsDecryptError,
} from "../../lib/enclave/kms/aws_ne/mod.ts";
import { childStarter } from "../../lib/enclave/children/child.ts";
import { SdkPool, type SdkPoolOptions } from "../../lib/enclave/kms/sdk_process/pool.ts";
import { MAX_LENGTH } from "../../lib/enclave/kms/sdk_process/protocol.ts";
import type { Log } from "../../lib/shared/log.ts";
import { printed } from "../helpers/children.ts";
import { until } from "../helpers/deadline.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { count } from "../helpers/effort.ts";
import { MODE, StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const REGION = "us-east-1";
const PLAINTEXT = new TextEncoder().encode("thirty-two bytes of a key: 01234");
const REQUEST = "aws_nitro_enclaves_rest_client_request_blocking";
const CLIENT_NEW = "aws_nitro_enclaves_kms_client_new";
const IS_OPEN = "aws_http_connection_is_open";

const START_ARGS = [
  "run",
  "--quiet",
  "--no-prompt",
  `--allow-ffi=${[NATIVE_DIR, ...LIBC_PATHS].join(",")}`,
  "--allow-net",
  "--allow-run",
  MAIN,
  "sdk-process",
];

const OPEN = { libraryDir: NATIVE_DIR, proxyPort: 8000, seedBytes: 1024, idleMs: 60_000, maxWarm: 8 };
const DEADLINES = { startMs: 20_000, connectMs: 20_000, callMs: 20_000, totalMs: 60_000 };

function credentials(accessKeyId = "AKIDTEST"): Credentials {
  return Credentials.fromStrings({
    accessKeyId,
    secretAccessKey: "secret-for-tests",
    sessionToken: "token-for-tests",
  });
}

async function call(pool: SdkPool, call: KmsCall, accessKeyId?: string): Promise<KmsCallResult> {
  using who = credentials(accessKeyId);
  return await pool.call(REGION, who, call);
}

async function decrypt(
  pool: SdkPool,
  ciphertext = stubWrap(PLAINTEXT),
  accessKeyId?: string,
): Promise<Uint8Array> {
  const { plaintext } = await call(pool, { kind: "decrypt", ciphertext, keyId: STUB_KEY_ARN }, accessKeyId);
  using opened = plaintext;
  return new Uint8Array(opened.expose());
}

/** The error, with this code, that a call ends in. */
async function failure(code: SdkErrorCode, run: () => Promise<unknown>, words?: string): Promise<SdkError> {
  const error = await assertRejects(run, SdkError, words);
  assertEquals(error.code, code);
  return error;
}

/** Whether a process exists and is not a zombie. */
function isAlive(pid: number): boolean {
  return /^State:\s+[^ZX]/m.test(printed(`cat /proc/${pid}/status`));
}

interface Rig {
  readonly pool: SdkPool;
  readonly control: StubControl;
  readonly logged: Record<string, unknown>[];
}

function test(
  behaviour: string,
  run: (rig: Rig) => Promise<void>,
  options: Partial<SdkPoolOptions> = {},
  env: Readonly<Record<string, string>> = {},
): void {
  Deno.test(`SDK process: ${behaviour}`, async () => {
    using control = new StubControl();
    const variables = { ...control.env, ...env };
    for (const [variable, value] of Object.entries(variables)) Deno.env.set(variable, value);
    const logged: Record<string, unknown>[] = [];
    const log: Log = (_level, event, fields) => void logged.push({ event, ...fields });
    const pool = new SdkPool({
      start: childStarter({ command: Deno.execPath(), args: START_ARGS, maxLength: MAX_LENGTH }),
      open: OPEN,
      processes: 1,
      deadlines: DEADLINES,
      maxClients: 64,
      maxWaiting: { decrypt: 32, generateDataKey: 32, generateRandom: 8 },
      log,
      ...options,
    });
    try {
      await run({ pool, control, logged });
    } finally {
      const pids = pool.pids;
      pool[Symbol.dispose]();
      await until("the children to end", () => !pids.some(isAlive));
      for (const variable of Object.keys(variables)) Deno.env.delete(variable);
    }
  });
}

const FAST = { startMs: 20_000, connectMs: 2_000, callMs: 1_000, totalMs: 20_000 };

test("opens the SDK, seeds entropy and decrypts", async ({ pool, control }) => {
  await pool.start();
  assertEquals(pool.state.sessions[0]?.entropySeeded, true);
  assertEquals(await decrypt(pool), PLAINTEXT);
  assertEquals(control.count("aws_nitro_enclaves_library_seed_entropy"), 1);
  assertEquals(pool.state.sessions[0]?.blockingBecause, undefined);
});

test("carries a refusal with KMS's name and a hint, after one request", async ({ pool, control }) => {
  await pool.start();
  const error = await assertRejects(
    () => decrypt(pool, new TextEncoder().encode("not a blob")),
    SdkKmsDecryptError,
  );
  assertEquals([error.kms?.name, error.symbol], ["InvalidCiphertextException", REQUEST]);
  assert(error.hint !== undefined);
  const expired = await assertRejects(() => decrypt(pool, undefined, "AKIAEXPIRED"), SdkKmsDecryptError);
  assertEquals([expired.kms?.name, control.count(REQUEST)], ["ExpiredTokenException", 2]);
});

const HANGS: readonly (readonly [string, number, SdkPoolOptions["deadlines"]])[] = [
  ["a missed answer", MODE.hang, FAST],
  // These say so on stderr: their deadline is far away.
  ["a request on a closed connection", MODE.closed, DEADLINES],
  ["a connection that closes", MODE.disconnected, DEADLINES],
  ["a connection that is reset", MODE.reset, DEADLINES],
];
for (const [what, mode, deadlines] of HANGS) {
  test(
    `kills a process that hangs on ${what}, and makes the call again in another`,
    async ({ pool, control }) => {
      await pool.start();
      await decrypt(pool);
      control.script([REQUEST, mode]);
      const began = performance.now();
      const opened = decrypt(pool);
      await control.called(REQUEST, 2);
      control.script();
      assertEquals(await opened, PLAINTEXT);
      assertEquals([pool.state.started, pool.state.hung], [2, 1]);
      assert(performance.now() - began < DEADLINES.callMs / 2);
    },
    { deadlines },
  );
}

test("a connect that failed at once is tried once more, without a loss", async ({ pool, control }) => {
  await pool.start();
  control.script([CLIENT_NEW, MODE.refused]);
  assertEquals(await decrypt(pool), PLAINTEXT);
  assertEquals([control.count(CLIENT_NEW), pool.state.started], [2, 1]);
});

test(
  "a TLS handshake may take longer than a call, and has a deadline of its own",
  async ({ pool, control }) => {
    await pool.start();
    control.script([CLIENT_NEW, MODE.tls + 100]);
    await assertRejects(() => decrypt(pool), SdkKmsClientError);
    // One that took so long is not tried again.
    assertEquals([pool.state.hung, control.count(CLIENT_NEW)], [0, 1]);
    control.script([CLIENT_NEW, MODE.hang + 100]);
    await failure("kms_timeout", () => decrypt(pool), "connecting took longer than 4000 ms");
    assertEquals(pool.state.hung, 2);
  },
  { deadlines: { ...FAST, connectMs: 4_000, callMs: 1_000 } },
  { STUB_TLS_MS: "2200" },
);

test("a process that has made its clients is replaced without losing a call", async ({ pool, control }) => {
  await pool.start();
  let id = 0;
  for (const replacements of [1, 2]) {
    for (let call = 0; call < 4; call++) {
      assertEquals(await decrypt(pool, undefined, `AKID${id++}`), PLAINTEXT);
    }
    await until("the replacement", () => pool.state.replaced === replacements);
  }
  assertEquals(await decrypt(pool), PLAINTEXT);
  const destroyed = control.count("aws_nitro_enclaves_kms_client_destroy");
  assertEquals([pool.state.lost, pool.state.hung, destroyed], [0, 0, 0]);
}, { maxClients: 3 });

test("processes that are killed while calls run cost no call", async ({ pool }) => {
  await pool.start();
  let calling = true;
  const answered = [0, 0, 0, 0];
  const load = answered.map(async (_, caller) => {
    while (calling) {
      assertEquals(await decrypt(pool, undefined, `AKID${caller}`), PLAINTEXT);
      answered[caller] = (answered[caller] ?? 0) + 1;
    }
  });
  const running = Promise.all(load);
  // Looked at below; a failure before that is that of the test.
  running.catch(() => {});
  const kills = count(100, 12);
  for (let kill = 0; kill < kills; kill++) {
    // Each caller's, so that no call loses both of its processes to this test.
    const before = [...answered];
    await until("calls", () => before.every((calls, caller) => (answered[caller] ?? 0) > calls + 1));
    const [pid] = pool.pids;
    if (pid !== undefined && isAlive(pid)) Deno.kill(pid, "SIGKILL");
    await until("the loss to be seen", () => pool.state.lost > kill);
  }
  calling = false;
  await running;
  assertEquals([pool.state.lost, pool.state.hung], [kills, 0]);
}, { processes: 2 });

/** Open descriptors and resident kilobytes of this process. */
function resources(): { readonly descriptors: number; readonly kilobytes: number } {
  const [, kilobytes] = /^VmRSS:\s+([0-9]+) kB/m.exec(printed(`cat /proc/${Deno.pid}/status`)) ?? [];
  const descriptors = printed(`ls /proc/${Deno.pid}/fd`).split("\n").length;
  return { descriptors, kilobytes: Number(kilobytes) };
}

const MIXED = { startMs: 20_000, connectMs: 1_500, callMs: 400, totalMs: 4_000 };

test(
  "calls with faults mixed end with the right answer or a named refusal, in time, and leave nothing behind",
  async ({ pool, control }) => {
    await pool.start();
    await until("both processes", () => pool.state.sessions.length === 2);
    for (let warmUp = 0; warmUp < 8; warmUp++) await decrypt(pool);
    const before = resources();
    // In 1,000: about 40 closed connections, and 10 or 20 of each of the others.
    control.script(
      [IS_OPEN, MODE.closed + 200, 40],
      [REQUEST, MODE.closed + 200, 10],
      [REQUEST, MODE.hang + 200, 10],
      [REQUEST, MODE.noEnvelope + 200, 20],
      [REQUEST, MODE.envelope + 200, 20],
      [REQUEST, MODE.noAnswer + 200, 20],
      [REQUEST, MODE.disconnected + 200, 10],
      [REQUEST, MODE.reset + 200, 10],
      [REQUEST, MODE.segfault + 200, 10],
      [CLIENT_NEW, MODE.tls + 200, 20],
      [CLIENT_NEW, MODE.hang + 200, 10],
      [CLIENT_NEW, MODE.refusedHang + 200, 10],
      ["aws_cms_parse_enveloped_data", MODE.fail + 200, 10],
      ["aws_attestation_request", MODE.fail + 200, 10],
    );
    const calls = count(1_000, 120);
    const outcomes: Record<string, number> = {};
    const note = (outcome: string) => outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    let next = 0;
    await Promise.all(Array.from({ length: 4 }, async (_, caller) => {
      while (next++ < calls) {
        const started = performance.now();
        try {
          assertEquals(await decrypt(pool, undefined, `AKID${caller}`), PLAINTEXT);
          note("answered");
        } catch (thrown) {
          assert(thrown instanceof SdkError && thrown.hint !== undefined, String(thrown));
          note(thrown.code);
        }
        const took = performance.now() - started;
        assert(took < MIXED.totalMs + 2_000, `a call took ${took} ms`);
      }
    }));
    control.script();
    assertEquals(await decrypt(pool), PLAINTEXT);
    assert((outcomes["answered"] ?? 0) > calls * 0.8, JSON.stringify(outcomes));
    await until("both processes", () => pool.state.sessions.length === 2 && pool.state.waiting === 0);
    const limit = before.descriptors + 6;
    await until("the descriptors", () => resources().descriptors <= limit);
    const grown = resources().kilobytes - before.kilobytes;
    assert(grown < 64 * 1024, `${grown} kB more after ${calls} calls`);
  },
  { processes: 2, deadlines: MIXED },
  { STUB_TLS_MS: "200" },
);

Deno.test("SDK process: with its parent killed, it ends, also in the middle of a call that hangs", async () => {
  using control = new StubControl();
  // The parent is a program of its own, so that it can be killed.
  const parent = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "-A", new URL("./hung_parent.ts", import.meta.url).pathname],
    env: { ...control.env },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = parent.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the parent ended: ${text}`);
    text += value;
  }
  const pid = Number(text.trim());
  assert(isAlive(pid));
  parent.kill("SIGKILL");
  await parent.status;
  await reader.cancel();
  await until("the child to end", () => !isAlive(pid));
});

Deno.test("SDK process: one whose parent is another process than it was told ends at once", async () => {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [...START_ARGS, "1"],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).output();
  assertEquals([code, stdout.length], [69, 0]);
});
