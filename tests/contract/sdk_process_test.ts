/**
 * The SDK's host: one protocol, two carriers, one suite. The SDK is the C stand-in, which fails, hangs and crashes as it is told.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  Credentials,
  SdkArgumentError,
  SdkBusyError,
  SdkError,
  SdkHostError,
  SdkKmsDecryptError,
  SdkLibraryError,
  SdkTimeoutError,
} from "../../lib/aws_ne/mod.ts";
import type { StartCarrier } from "../../lib/kms/sdk_process/carrier.ts";
import { SdkHost, type SdkHostOptions } from "../../lib/kms/sdk_process/host.ts";
import { processCarrier } from "../../lib/kms/sdk_process/process_carrier.ts";
import { startWorkerCarrier } from "../../lib/kms/sdk_process/worker_carrier.ts";
import { silentLog } from "../../lib/log.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { MODE, StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const REGION = "us-east-1";
const PLAINTEXT = new TextEncoder().encode("thirty-two bytes of a key: 01234");
const DECRYPT = "aws_kms_decrypt_blocking";

const CARRIERS: readonly (readonly [string, StartCarrier])[] = [
  ["Worker", startWorkerCarrier],
  [
    "process",
    processCarrier(Deno.execPath(), [
      "run",
      "--quiet",
      "--no-prompt",
      `--allow-ffi=${NATIVE_DIR}`,
      "--allow-net",
      "--allow-run",
      MAIN,
      "sdk-host",
    ]),
  ],
];

function credentials(accessKeyId = "AKIDTEST"): Credentials {
  return Credentials.fromStrings({
    accessKeyId,
    secretAccessKey: "secret-for-tests",
    sessionToken: "token-for-tests",
  });
}

async function decrypt(
  host: SdkHost,
  ciphertext = stubWrap(PLAINTEXT),
  accessKeyId?: string,
): Promise<Uint8Array> {
  using who = credentials(accessKeyId);
  const { plaintext } = await host.call(REGION, who, { kind: "decrypt", ciphertext, keyId: STUB_KEY_ARN });
  using opened = plaintext;
  return new Uint8Array(opened.expose());
}

for (const [name, start] of CARRIERS) {
  const test = (
    behaviour: string,
    run: (host: SdkHost, control: StubControl, fatal: SdkHostError[]) => Promise<void>,
    options: Partial<SdkHostOptions> = {},
  ) =>
    Deno.test(`SDK host as ${name}: ${behaviour}`, async () => {
      using control = new StubControl();
      for (const [variable, value] of Object.entries(control.env)) Deno.env.set(variable, value);
      const fatal: SdkHostError[] = [];
      using host = new SdkHost({
        start,
        open: {
          libraryDir: NATIVE_DIR,
          proxyPort: 8000,
          seedBytes: 1024,
          idleMs: 60_000,
          maxWarm: 8,
          maxClients: 16,
        },
        deadlineMs: 20_000,
        maxGivenUp: 3,
        maxQueued: 4,
        log: silentLog,
        onFatal: (error) => fatal.push(error),
        ...options,
      });
      await run(host, control, fatal);
    });

  test("opens the SDK, seeds entropy and decrypts", async (host, control) => {
    await host.start();
    assertEquals(host.state.session?.entropySeeded, true);
    assertEquals(await decrypt(host), PLAINTEXT);
    assertEquals(control.count("aws_nitro_enclaves_library_seed_entropy"), 1);
  });

  test("keeps the client warm from call to call", async (host, control) => {
    for (let call = 0; call < 5; call++) assertEquals(await decrypt(host), PLAINTEXT);
    assertEquals(control.count("aws_nitro_enclaves_kms_client_new"), 1);
  });

  test("hands over a data key with both of its forms", async (host) => {
    using who = credentials();
    const { plaintext, ciphertext } = await host.call(REGION, who, {
      kind: "generateDataKey",
      keyId: STUB_KEY_ARN,
      keySpec: "AES_256",
      context: { purpose: "wallet" },
    });
    using key = plaintext;
    assertEquals(ciphertext, stubWrap(key.expose(), { context: { purpose: "wallet" } }));
  });

  test("carries an error with its class, KMS's name and a hint", async (host) => {
    const error = await assertRejects(
      () => decrypt(host, new TextEncoder().encode("not a blob")),
      SdkKmsDecryptError,
    );
    assertEquals([error.kms?.name, error.symbol], ["InvalidCiphertextException", DECRYPT]);
    assert(error.hint !== undefined);
    const expired = await assertRejects(() => decrypt(host, undefined, "AKIAEXPIRED"), SdkKmsDecryptError);
    assertEquals(expired.kms?.name, "ExpiredTokenException");
  });

  test("refuses arguments with the parameter's name, and goes on", async (host) => {
    await assertRejects(() => decrypt(host, new Uint8Array(0)), SdkArgumentError, "ciphertext is empty");
    assertEquals(await decrypt(host), PLAINTEXT);
  });

  test("makes a call again once on a new connection when the old one is dead", async (host, control) => {
    await decrypt(host);
    control.script([DECRYPT, MODE.closed]);
    assertEquals(await decrypt(host), PLAINTEXT);
    assertEquals(control.count("aws_nitro_enclaves_kms_client_new"), 2);
  });

  test("says where it looked when there are no libraries", async (host) => {
    const error = await assertRejects(() => host.start(), SdkLibraryError);
    assertStringIncludes(error.message, "/nonexistent/libaws-c-common.so");
  }, {
    open: { libraryDir: "/nonexistent", proxyPort: 8000, seedBytes: 0, idleMs: 1, maxWarm: 1, maxClients: 1 },
  });

  test("gives a hung host up, and makes the call again on a new one", async (host, control) => {
    await decrypt(host);
    control.script([DECRYPT, MODE.hang]);
    const call = decrypt(host);
    await control.called(DECRYPT, 2);
    control.script();
    assertEquals(await call, PLAINTEXT);
    assertEquals(host.state.started, 2);
  }, { deadlineMs: 3_000 });

  test(
    "answers kms_timeout when the new host hangs as well, and serves with the next",
    async (host, control) => {
      await decrypt(host);
      control.script([DECRYPT, MODE.hang + 100]);
      const error = await assertRejects(() => decrypt(host), SdkTimeoutError);
      assertEquals(error.code, "kms_timeout");
      control.script();
      assertEquals(await decrypt(host), PLAINTEXT);
    },
    { deadlineMs: 3_000 },
  );

  test("answers every waiting call by its own deadline while the host hangs", async (host, control) => {
    await decrypt(host);
    control.script([DECRYPT, MODE.hang + 100]);
    const results = await Promise.allSettled([decrypt(host), decrypt(host), decrypt(host)]);
    for (const result of results) {
      assert(result.status === "rejected" && result.reason instanceof SdkTimeoutError, String(result));
    }
  }, { deadlineMs: 3_000 });

  test("refuses calls beyond its queue at once", async (host, control) => {
    await decrypt(host);
    control.script([DECRYPT, MODE.slow]);
    const waiting = Array.from({ length: 5 }, () => decrypt(host));
    await assertRejects(() => decrypt(host), SdkBusyError);
    for (const opened of await Promise.all(waiting)) assertEquals(opened, PLAINTEXT);
  });

  test("refuses calls after it was closed", async (host) => {
    await host.start();
    host[Symbol.dispose]();
    await assertRejects(() => decrypt(host), SdkHostError, "shutting down");
  });
}

const [, [, startProcess]] = CARRIERS as [unknown, readonly [string, StartCarrier]];

Deno.test("SDK host as Worker: too many hangs end the process with a clear error", async () => {
  using control = new StubControl();
  for (const [variable, value] of Object.entries(control.env)) Deno.env.set(variable, value);
  const fatal = Promise.withResolvers<SdkHostError>();
  using host = new SdkHost({
    start: startWorkerCarrier,
    open: {
      libraryDir: NATIVE_DIR,
      proxyPort: 8000,
      seedBytes: 0,
      idleMs: 60_000,
      maxWarm: 8,
      maxClients: 16,
    },
    deadlineMs: 2_000,
    maxGivenUp: 0,
    maxQueued: 4,
    log: silentLog,
    onFatal: fatal.resolve,
  });
  control.script([DECRYPT, MODE.hang + 100]);
  await assertRejects(() => decrypt(host), SdkTimeoutError);
  assertStringIncludes((await fatal.promise).message, "hung 1 times");
});

for (const [what, mode] of [["aborts", MODE.abort], ["crashes", MODE.segfault]] as const) {
  Deno.test(`SDK host as process: an SDK that ${what} costs one retry`, async () => {
    using control = new StubControl();
    for (const [variable, value] of Object.entries(control.env)) Deno.env.set(variable, value);
    using host = hostInProcess();
    await decrypt(host);
    control.script([DECRYPT, mode]);
    const call = decrypt(host);
    await control.called(DECRYPT, 2);
    // The script fires once a process, and the retry is another process.
    control.script();
    assertEquals(await call, PLAINTEXT);
    assertEquals([host.state.lost, host.state.started], [1, 2]);
  });
}

Deno.test("SDK host as process: one that crashes again and again is an error with its last words", async () => {
  using control = new StubControl();
  for (const [variable, value] of Object.entries(control.env)) Deno.env.set(variable, value);
  using host = hostInProcess();
  control.script([DECRYPT, MODE.abort + 100]);
  const error = await assertRejects(() => decrypt(host), SdkHostError);
  assertStringIncludes(error.message, "Fatal error condition");
});

Deno.test("SDK host as process: what the SDK printed becomes the reason where KMS gave none", async () => {
  using control = new StubControl();
  for (const [variable, value] of Object.entries(control.env)) Deno.env.set(variable, value);
  using host = hostInProcess();
  control.script(["aws_nitro_enclaves_kms_client_new", MODE.silent]);
  const error = await assertRejects(() => decrypt(host), SdkError);
  assertStringIncludes(error.message, "the SDK said:");
});

Deno.test("SDK host as process: a host whose clients are used up is replaced, and the call made", async () => {
  using control = new StubControl();
  for (const [variable, value] of Object.entries(control.env)) Deno.env.set(variable, value);
  using host = hostInProcess({ maxClients: 2 });
  for (const id of ["AKID1", "AKID2", "AKID3"]) assertEquals(await decrypt(host, undefined, id), PLAINTEXT);
  assertEquals(host.state.started, 2);
});

function hostInProcess(open: { readonly maxClients?: number } = {}): SdkHost {
  return new SdkHost({
    start: startProcess,
    open: {
      libraryDir: NATIVE_DIR,
      proxyPort: 8000,
      seedBytes: 0,
      idleMs: 60_000,
      maxWarm: 8,
      maxClients: 16,
      ...open,
    },
    deadlineMs: 20_000,
    maxGivenUp: 0,
    maxQueued: 4,
    log: silentLog,
    onFatal: () => {},
  });
}
