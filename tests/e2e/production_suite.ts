/**
 * The production entry as its own process, with the C stand-ins for the SDK's libraries: run from source, and
 * as the compiled binary.
 *
 * @module
 */
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import type { Address } from "../../lib/shared/wire/address.ts";
import type { Framing } from "../../lib/shared/wire/framing.ts";
import { type Launch, ServiceProcess } from "../helpers/service_process.ts";
import { runTool } from "../helpers/tools.ts";
import { hasNamespaces, onMachineWith, peakResident } from "../helpers/memory.ts";
import { childrenOf } from "../helpers/children.ts";
import { until } from "../helpers/deadline.ts";
import { count } from "../helpers/effort.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { skipTests } from "../helpers/skip.ts";
import { MODE, StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";
import { assertEveryCounter } from "../helpers/prometheus.ts";
import { assertPostCarriesOutNothing } from "../helpers/web_page.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";

/** How the program under test is started. */
export interface Program {
  readonly name: string;
  readonly command: string;
  /** What comes before the program's own arguments. */
  readonly prefix: readonly string[];
  /** Where the stand-ins are that it may open. */
  readonly libraryDir: string;
}

const REQUEST = "aws_nitro_enclaves_rest_client_request_blocking";
const CLIENT_NEW = "aws_nitro_enclaves_kms_client_new";
const LIBRARY_INIT = "aws_nitro_enclaves_library_init";
const SEED_ENTROPY = "aws_nitro_enclaves_library_seed_entropy";
const CLIENT_DESTROY = "aws_nitro_enclaves_kms_client_destroy";
const CLEAN_UP = "aws_nitro_enclaves_library_clean_up";
const CREDENTIALS = {
  aws_access_key_id: "AKIDTEST",
  aws_secret_access_key: "made-for-tests",
  aws_session_token: "made-for-tests",
};
const PROCESSES = ["1", "2"] as const;
const CONTRACT = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const FIXED_RANDOM = `${NATIVE_DIR}/libfixed-random.so`;
const MIB = 1024 * 1024;
/** What the kernel of an enclave of 512 MB states. */
const SMALL_MEMORY = 480 * MIB;
/** Of which the image's files and the kernel itself take about 140 MiB, and an SDK process 55. */
const SMALL_RESIDENT = 285 * MIB;
const canBeSmall = await hasNamespaces();
if (!canBeSmall) skipTests("the service on a machine with less memory, since there are no user namespaces");

interface Setup {
  readonly service: ServiceProcess & { readonly address: Address };
  readonly control: StubControl;
  readonly tsk: Tsk;
}

/** A session key, as its owner has it. */
export class Tsk implements Disposable {
  readonly raw: Uint8Array<ArrayBuffer>;
  #key: SealingKey | undefined;

  /** A random one, unless it is given. */
  constructor(raw: Uint8Array<ArrayBuffer> = crypto.getRandomValues(new Uint8Array(32))) {
    this.raw = raw;
  }

  seal(plaintext: Uint8Array): string {
    this.#key ??= new SealingKey(SecretBytes.copyOf(this.raw), { random: HOST_RANDOM.fill });
    return encodeHex(this.#key.seal(plaintext));
  }

  open(hex: unknown): Uint8Array {
    this.#key ??= new SealingKey(SecretBytes.copyOf(this.raw), { random: HOST_RANDOM.fill });
    return this.#key.open(decodeHex(String(hex)));
  }

  /** A `configure` that makes the service take this key. */
  configure(wrapped: Uint8Array = stubWrap(this.raw, { context: TSK_CONTEXT })): Record<string, unknown> {
    return { type: "configure", encrypted_tsk: encodeBase64(wrapped), ...CREDENTIALS };
  }

  [Symbol.dispose](): void {
    this.#key?.[Symbol.dispose]();
  }
}

/** Sends data through `process`, and checks what comes back. */
export async function roundTrip(client: Client, tsk: Tsk, size = 64): Promise<void> {
  const plaintext = crypto.getRandomValues(new Uint8Array(Math.min(size, 65_536)));
  const reply = await client.request({ type: "process", ciphertext: await tsk.seal(plaintext) });
  assertEquals(await tsk.open(reply["result"]), plaintext);
}

/** Registers the suite for one way to start the program. */
export function testProduction(program: Program): void {
  const launch = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Launch => ({
    command: program.command,
    args: [...program.prefix, ...args],
    env,
  });
  const serveArgs = [
    "--listen",
    "tcp:127.0.0.1:0",
    "--kms-key",
    STUB_KEY_ARN,
    "--library-dir",
    program.libraryDir,
  ];

  const test = (behaviour: string, args: readonly string[], run: (setup: Setup) => Promise<void>) =>
    Deno.test(`${program.name}: ${behaviour}`, async () => {
      using control = new StubControl();
      await using service = await ServiceProcess.start(launch([...serveArgs, ...args], control.env));
      await service.logged("sdk_open");
      using tsk = new Tsk();
      await run({ service, control, tsk });
    });

  Deno.test(`${program.name}: a service that is killed at any moment of its start leaves no child`, async (t) => {
    const steps = count(30, 6);
    for (let step = 0; step <= steps; step++) {
      const ms = Math.round(1_500 * step / steps);
      await t.step(`after ${ms} ms`, async () => {
        await using service = ServiceProcess.spawn(launch(serveArgs));
        await new Promise((resolve) => setTimeout(resolve, ms));
        await service.stop("SIGKILL");
        await until("the end of its children", () => childrenOf(service.pid).length === 0);
      });
    }
  });

  for (const processes of PROCESSES) {
    test(
      `with --sdk-processes ${processes}, KMS releases the key and process serves with it, in every framing`,
      [
        "--sdk-processes",
        processes,
      ],
      async ({ service, control, tsk }) => {
        for (const framing of ["u32be", "u64le", "raw"] as const satisfies readonly Framing[]) {
          using client = await Client.connect(service.address, { framing });
          assertEquals((await client.exchange({ type: "ping" }))["status"], "ok");
          assertEquals((await client.request(tsk.configure()))["msg"], "configured");
          await roundTrip(client, tsk);
          await roundTrip(client, tsk, 60_000);
        }
        assertEquals([control.count(CLIENT_NEW), control.count(CLIENT_DESTROY)], [1, 0]);
        assertEquals((await service.stop()).code, 0);
        assertEquals(service.lines.at(-1)?.["event"], "stopped");
      },
    );

    test(
      `with --sdk-processes ${processes}, a hang answers timeout while process goes on, and the next configure works`,
      ["--sdk-processes", processes, "--kms-deadline-ms", "2500"],
      async ({ service, control, tsk }) => {
        using client = await Client.connect(service.address);
        using second = await Client.connect(service.address);
        await client.request(tsk.configure());
        control.script([REQUEST, MODE.hang + 100]);
        let answered = false;
        const hung = client.exchange(tsk.configure()).finally(() => answered = true);
        await control.called(REQUEST, 2);
        let meanwhile = 0;
        while (!answered) {
          await roundTrip(second, tsk);
          meanwhile++;
        }
        assertEquals((await hung)["msg"], "timeout");
        assert(meanwhile > 50, `only ${meanwhile} requests were served while the SDK hung`);
        control.script();
        await client.request(tsk.configure());
        await roundTrip(client, tsk);
      },
    );

    test(
      `with --sdk-processes ${processes}, rotation under load fails no request`,
      ["--sdk-processes", processes],
      async ({ service, tsk }) => {
        using admin = await Client.connect(service.address);
        await admin.request(tsk.configure());
        let rotating = true;
        const load = Array.from({ length: 4 }, async () => {
          using client = await Client.connect(service.address);
          let requests = 0;
          // Wrapped anew, but the same key: whichever is in use, every request must open.
          while (rotating) {
            await roundTrip(client, tsk, 20_000);
            requests++;
          }
          return requests;
        });
        for (let rotation = 0; rotation < 20; rotation++) await admin.request(tsk.configure());
        rotating = false;
        for (const requests of await Promise.all(load)) assert(requests > 0);
      },
    );
  }

  test(
    "an SDK that aborts costs a process, and the configured key stays",
    [],
    async ({ service, control, tsk }) => {
      using client = await Client.connect(service.address);
      await client.request(tsk.configure());
      control.script([REQUEST, MODE.abort + 100]);
      const reply = await client.exchange(tsk.configure());
      assertEquals([reply["status"], reply["msg"]], ["error", "kms_decrypt_failed"]);
      await roundTrip(client, tsk);
      control.script();
      await client.request(tsk.configure());
      assert(service.events("sdk_process_lost").length >= 1);
      assertStringIncludes(String(service.events("sdk_process_lost")[0]?.["said"]), "Fatal error condition");
    },
  );

  test(
    "two SDK processes make configures at the same time, and the last to arrive is in use",
    ["--sdk-processes", "2", "--kms-deadline-ms", "6000"],
    async ({ service, control, tsk }) => {
      using clients = new DisposableStack();
      const connect = async () => clients.use(await Client.connect(service.address));
      const [slow, one, two] = [await connect(), await connect(), await connect()];
      using first = new Tsk();
      control.script([REQUEST, MODE.hang]);
      let slowIsDone = false;
      const slowly = slow.exchange(first.configure()).finally(() => slowIsDone = true);
      await control.called(REQUEST);
      control.script();
      // With the same credentials: one waits for the client of the call that hangs, the other gets a new one.
      await Promise.all([one.request(tsk.configure()), two.request(tsk.configure())]);
      assertEquals(slowIsDone, false);
      assertEquals((await slowly)["msg"], "configured");
      await roundTrip(one, tsk);
      assertEquals(service.events("configured").at(-1)?.["overtaken"], true);
    },
  );

  test(
    "an answer of an unknown layout is asked for again by the SDK's own functions, with one warning",
    [],
    async ({ service, control, tsk }) => {
      using client = await Client.connect(service.address);
      assertStringIncludes(JSON.stringify(await client.exchange({ type: "health" })), "attested requests");
      control.script([REQUEST, MODE.answer + 100]);
      for (let configure = 0; configure < 3; configure++) await client.request(tsk.configure());
      await roundTrip(client, tsk);
      const health = await client.exchange({ type: "health" });
      assertStringIncludes(
        JSON.stringify(health),
        "the SDK's blocking calls: KMS's answer has another layout",
      );
      assertEquals([control.count(REQUEST), service.events("sdk_blocking_calls").length], [1, 1]);
    },
  );

  test(
    "a connection that fails, or hangs as the SDK announces on stderr, ends at once, and the reply has the reason",
    [],
    async ({ service, control, tsk }) => {
      using client = await Client.connect(service.address);
      const began = performance.now();
      for (
        const [symbol, mode, words] of [
          [CLIENT_NEW, MODE.refused, "no vsock-proxy on port 8000"],
          [CLIENT_NEW, MODE.refusedHang, "no vsock-proxy on port 8000"],
          [
            REQUEST,
            MODE.disconnected,
            "the connection through the vsock-proxy on port 8000 closed before KMS answered",
          ],
          [
            REQUEST,
            MODE.reset,
            "the connection through the vsock-proxy on port 8000 was reset before KMS answered",
          ],
        ] as const
      ) {
        control.script([symbol, mode + 100]);
        const reply = await client.exchange(tsk.configure());
        assertEquals([reply["msg"], reply["details"]], [
          "kms_decrypt_failed",
          `KMS was not reached: ${words}`,
        ]);
      }
      // Two attempts each, of 35 s and twice 5 s by the deadlines.
      const took = performance.now() - began;
      assert(took < 20_000, `it took ${took} ms`);
      assertEquals(service.events("sdk_process_hung").length, 6);
      const logs = await client.exchange({ type: "logs", limit: 100 });
      assertStringIncludes(JSON.stringify(logs), "AWS_IO_SOCKET_CONNECTION_REFUSED");
      control.script();
      await client.request(tsk.configure());
    },
  );

  Deno.test(`${program.name}: SIGTERM after 20 configures ends with 0, every time`, async () => {
    for (let round = 0; round < count(40, 4); round++) {
      using control = new StubControl();
      await using service = await ServiceProcess.start(launch(serveArgs, control.env));
      using tsk = new Tsk();
      using client = await Client.connect(service.address);
      for (let configure = 0; configure < 20; configure++) {
        await client.request({ ...tsk.configure(), aws_access_key_id: `AKID${configure}` });
      }
      await roundTrip(client, tsk);
      const { code, signal } = await service.stop();
      assertEquals([code, signal], [0, null]);
    }
  });

  test("KMS's own refusal is reported by its name", [], async ({ service, tsk }) => {
    using client = await Client.connect(service.address);
    for (
      const [request, name] of [
        [tsk.configure(new Uint8Array(100)), "InvalidCiphertextException"],
        [
          tsk.configure(stubWrap(tsk.raw, { keyId: "another", context: TSK_CONTEXT })),
          "IncorrectKeyException",
        ],
        [{ ...tsk.configure(), aws_access_key_id: "AKIAEXPIRED00000000" }, "ExpiredTokenException"],
        [{ ...tsk.configure(), aws_access_key_id: "AKIADENIED000000000" }, "AccessDeniedException"],
      ] as const
    ) {
      const reply = await client.exchange(request);
      assertEquals(reply["msg"], "kms_decrypt_failed");
      assertEquals(/^KMS refused: (\w+)/.exec(String(reply["details"]))?.[1], name);
    }
    assertEquals((await client.exchange({ type: "health" }))["configured"], false);
  });

  test(
    "connections that have sent the largest messages keep little of them",
    ["--max-connections", "64"],
    async ({ service }) => {
      using clients = new DisposableStack();
      const filler = "x".repeat(10 * MIB - 100);
      for (let count = 0; count < 60; count++) {
        const client = clients.use(await Client.connect(service.address));
        assertEquals((await client.exchange({ type: "ping", filler }))["status"], "ok");
      }
      const peak = await peakResident(service.pid);
      assert(peak < SMALL_RESIDENT, `${Math.round(peak / MIB)} MiB`);
    },
  );

  Deno.test({
    name: `${program.name}: with 512 MB, 60 messages of 7 MiB at once are served or answered busy`,
    ignore: !canBeSmall,
    fn: async () => {
      using control = new StubControl();
      await using service = await ServiceProcess.start(
        onMachineWith(SMALL_MEMORY, launch(serveArgs, control.env)),
      );
      using tsk = new Tsk();
      using client = await Client.connect(service.address);
      await client.request(tsk.configure());
      const health = await client.request({ type: "health" });
      assertEquals([health.memory_total, health.memory_budget], [SMALL_MEMORY, 100 * MIB]);
      const ciphertext = tsk.seal(new Uint8Array(3.5 * MIB - 4096));
      const codes = await Promise.all(Array.from({ length: 60 }, async () => {
        using client = await Client.connect(service.address, { timeoutMs: 60_000 });
        const reply = await client.exchange({ type: "process", ciphertext });
        return reply["status"] === "ok" ? "ok" : reply["msg"];
      }));
      assertEquals([...new Set(codes)].sort(), ["busy", "ok"]);
      const peak = await peakResident(service.pid);
      assert(peak < SMALL_RESIDENT, `${Math.round(peak / MIB)} MiB`);
      await roundTrip(client, tsk);
    },
  });

  test("every counter of health and metrics is a metric of denclavectl up", [
    "--wallet-cache",
    "8",
  ], async ({ service, tsk }) => {
    using client = await Client.connect(service.address);
    await client.request(tsk.configure());
    await roundTrip(client, tsk);
    assertEquals((await client.exchange({ type: "process" }))["status"], "error");
    const [health, metrics] = [
      await client.exchange({ type: "health" }),
      await client.exchange({ type: "metrics" }),
    ];
    const text = await assertEveryCounter(health, metrics);
    for (const name of ["kms_sdk_processes", "wallet_cache_hits_total", "session_key_seals"]) {
      assertStringIncludes(text, `denclave_${name}{`);
    }
  });

  test("a web page's POST of 23 requests carries out none of them", [], async ({ service }) => {
    await assertPostCarriesOutNothing(service.address);
  });

  test("a request does not choose the key or the region", [], async ({ service, tsk }) => {
    using client = await Client.connect(service.address);
    const other = STUB_KEY_ARN.replace("1234abcd", "99999999");
    for (const extra of [{ kms_key_id: other }, { kms_key_id: "alias/mine" }, { region: "eu-west-1" }]) {
      assertEquals((await client.exchange({ ...tsk.configure(), ...extra }))["msg"], "key_not_allowed");
    }
    await client.request({
      ...tsk.configure(),
      kms_key_id: "1234abcd-12ab-34cd-56ef-1234567890ab",
      region: "us-east-1",
    });
  });

  test("a flood of bad requests displaces no security event", [], async ({ service, tsk }) => {
    using client = await Client.connect(service.address);
    const flood = async () => {
      for (let n = 0; n < 300; n++) await client.exchange({ type: `none ${n}` });
    };
    // The configure is in the second whose lines have been used up.
    await flood();
    await client.request(tsk.configure());
    await client.exchange({ ...tsk.configure(), kms_key_id: "another" });
    await flood();
    const { events } = await client.request({ type: "logs", security: true });
    const told = events.map(({ event, type, code, count }) => [event, type, code, count]);
    assertEquals(told, [
      ["request_failed", "unknown", "unknown_type", 600],
      ["configured", undefined, undefined, undefined],
      ["request_failed", "configure", "key_not_allowed", 1],
    ]);
    // A follower has it, though its line was probably over the rate limit.
    const followed = await client.request({ type: "logs", after: 0, limit: 500 });
    assertEquals(followed.events.filter(({ event }) => event === "configured").length, 1);
  });

  test(
    "health shows the kernel's release and a boot id, and no difference of clocks without an NSM",
    [],
    async ({ service }) => {
      using client = await Client.connect(service.address);
      const { kernel, boot_id, clock_difference_ms } = await client.request({ type: "health" });
      const { stdout } = await new Deno.Command("uname", { args: ["-r"] }).output();
      assertEquals([kernel, clock_difference_ms], [new TextDecoder().decode(stdout).trim(), undefined]);
      assert(/^[0-9a-f]{32}$/.test(boot_id), boot_id);
      assertEquals((await client.request({ type: "logs", after: 0 })).boot_id, boot_id);
    },
  );

  test(
    "a client that follows the log gets each event as it comes, and SIGTERM does not wait for it",
    [],
    async ({ service }) => {
      using follower = await Client.connect(service.address);
      using other = await Client.connect(service.address);
      const { events } = await follower.request({ type: "logs", limit: 1 });
      const next = (after: unknown) =>
        follower.request({ type: "logs", after: Number(after), wait_ms: 30_000 })
          .then((reply) => reply.events.map(({ event, seq }) => [event, seq]));
      const first = next(events[0]?.["seq"]);
      await other.exchange({ type: "none such" });
      const [event, seq] = (await first)[0] ?? [];
      assertEquals([event, seq], ["request_failed", Number(events[0]?.["seq"]) + 1]);
      const last = next(seq);
      // When both answers are there, the request before them has been read.
      for (let turn = 0; turn < 2; turn++) await other.exchange({ type: "ping" });
      const begun = performance.now();
      assertEquals((await service.stop("SIGTERM")).code, 0);
      // Requests under way have five seconds to end.
      assert(performance.now() - begun < 4_000, `${performance.now() - begun} ms`);
      assertEquals((await last).map(([event]) => event).slice(0, 1), ["signal"]);
    },
  );

  test("no credential, key or plaintext is in the log or in the service's status replies", [
    "--log-level",
    "debug",
  ], async ({ service, tsk }) => {
    using client = await Client.connect(service.address);
    const secret = "NEVER-SEEN-ANYWHERE";
    await client.exchange({
      ...tsk.configure(new Uint8Array(50)),
      aws_secret_access_key: secret,
      aws_session_token: secret,
    });
    await client.request({ ...tsk.configure(), aws_secret_access_key: secret });
    await roundTrip(client, tsk);
    const told = JSON.stringify([
      await client.exchange({ type: "health" }),
      await client.exchange({ type: "logs", limit: 500 }),
      await client.exchange({ type: "metrics" }),
    ]);
    await service.stop();
    for (const text of [told, JSON.stringify(service.lines), service.stderr]) {
      for (const hidden of [secret, "made-for-tests", encodeHex(tsk.raw), encodeBase64(tsk.raw)]) {
        assertEquals(text.includes(hidden), false);
      }
    }
  });

  test(
    "after its start the main process holds no FFI and no permission but to start SDK processes",
    [],
    async ({ service, tsk }) => {
      using client = await Client.connect(service.address);
      const { permissions } = await client.exchange({ type: "health" });
      // From source, reading its own modules is a permission as well.
      assertEquals((permissions as readonly string[]).filter((name) => name !== "read"), ["run"]);
      await client.request(tsk.configure());
      await roundTrip(client, tsk);
    },
  );

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(
      `${signal} lets the request under way end, then the process ends with 0`,
      [],
      async ({ service, control, tsk }) => {
        using client = await Client.connect(service.address);
        control.script([REQUEST, MODE.slow]);
        const configuring = client.exchange(tsk.configure());
        await control.called(REQUEST);
        const status = service.stop(signal);
        assertEquals((await configuring)["msg"], "configured");
        assertEquals((await status).code, 0);
        assert(service.events("draining").length === 1);
      },
    );
  }

  Deno.test(`${program.name}: with the runtime's generators fixed, two runs have no key, nonce or id in common`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "denclave-fixed-" });
    try {
      const [first, second] = [await made(`${folder}/1`), await made(`${folder}/2`)];
      for (const [what, value] of Object.entries(first)) {
        assertEquals([what, typeof value], [what, "string"]);
        assertNotEquals(value, second[what], what);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  /**
   * One of each that a run makes. @param seen a file that is written when the runtime took the fixed numbers
   */
  async function made(seen: string): Promise<Readonly<Record<string, unknown>>> {
    using control = new StubControl();
    using tsk = new Tsk();
    const env = { ...control.env, LD_PRELOAD: FIXED_RANDOM, FIXED_RANDOM_SEEN: seen };
    await using service = await ServiceProcess.start(launch(serveArgs, env));
    using client = await Client.connect(service.address);
    await client.request(tsk.configure());
    const processed = await client.request({ type: "process", ciphertext: tsk.seal(new Uint8Array(4)) });
    const { random, kms } = await client.request({ type: "health" });
    assertEquals(random, "no NSM, kernel, runtime");
    assertEquals((kms as Record<string, unknown>)["entropy_seeded"], true);
    const key = { kms_key_id: STUB_KEY_ARN, credential: CREDENTIALS };
    const master = await client.request({ type: "master_key.init", enclave_id: 1, ...key });
    const { content } = await client.request({ apiRequest: "generateAccount", name: "alice", ...key });
    const account = content as Record<string, unknown>;
    await Deno.stat(seen);
    const nonceOf = (base64: unknown) => String(base64).slice(0, 16);
    return {
      "master key": master["public_key"],
      "nonce of the master key's row": nonceOf(master["encrypted_private_key"]),
      "boot id": master["boot_id"],
      "account": account["address"],
      "nonce of the account's row": nonceOf(account["encryptedPrivateKey"]),
      "nonce of a result": String(processed["result"]).slice(0, 24),
    };
  }

  test(
    "delegations are signed only for a listed contract, blobs and typed data with a colon are signed, and an account is moved",
    [
      "--wallet-chain=1",
      `--wallet-recipient=${CONTRACT}`,
      `--wallet-delegation=${CONTRACT}`,
      `--wallet-verifying-contract=${CONTRACT}:Of:Mail`,
    ],
    async ({ service }) => {
      using client = await Client.connect(service.address);
      const key = { key_id: STUB_KEY_ARN, credential: CREDENTIALS };
      const { content } = await client.request({ apiRequest: "generateAccount", name: "alice", ...key });
      const { content: moved } = await client.request({
        ...{ apiRequest: "rewrapAccount", ...content as WireObject, ...key, new_key_id: STUB_KEY_ARN },
      });
      const outcome = async (payload: WireObject) => {
        const request = { apiRequest: "sign", ...moved as WireObject, ...key, ...payload };
        const reply = await client.exchange(request);
        return reply["details"] ?? reply["apiResponse"];
      };
      const authorization = (address: string) => ({ authorization: { chainId: 1, address, nonce: 0 } });
      const other = `0x${"11".repeat(20)}`;
      const blobs = {
        ...{ chainId: 1, nonce: 0, gasLimit: 21_000, maxFeePerGas: 1, maxPriorityFeePerGas: 1, to: CONTRACT },
        ...{ maxFeePerBlobGas: 1, blobVersionedHashes: [`0x01${"00".repeat(31)}`] },
      };
      const typedData = {
        types: { "Of:Mail": [{ name: "from-chain", type: "string" }] },
        primaryType: "Of:Mail",
        domain: { chainId: 1, verifyingContract: CONTRACT },
        message: { "from-chain": "x" },
      };
      assertEquals([
        await outcome(authorization(CONTRACT)),
        await outcome({ transaction: blobs }),
        await outcome({ typedData }),
        await outcome(authorization(other)),
      ], [...Array(3).fill("signResponse"), `Rule delegations: the delegation to ${other} is not allowed`]);
    },
  );

  test("typed data is signed only for a listed pair, and a listed allowance causes a warning", [
    "--wallet-chain=1",
    "--wallet-recipient",
    CONTRACT,
    `--wallet-verifying-contract=${CONTRACT}:Mail,${CONTRACT}:Permit`,
  ], async ({ service }) => {
    using client = await Client.connect(service.address);
    const key = { key_id: STUB_KEY_ARN, credential: CREDENTIALS };
    const { content } = await client.request({ apiRequest: "generateAccount", name: "alice", ...key });
    const outcome = async (primaryType: string) => {
      const reply = await client.exchange({
        apiRequest: "sign",
        ...content as Record<string, unknown>,
        ...key,
        typedData: {
          types: { [primaryType]: [{ name: "spender", type: "address" }] },
          primaryType,
          domain: { chainId: 1, verifyingContract: CONTRACT },
          message: { spender: CONTRACT },
        },
      });
      return reply["details"] ?? reply["apiResponse"];
    };
    assertEquals([await outcome("Mail"), await outcome("Grant")], [
      "signResponse",
      `Rule verifying-contracts: typed data Grant for ${CONTRACT} is not allowed`,
    ]);
    const { warnings } = await client.request({ type: "health" });
    const found = (warnings as string[]).filter((text) => text.includes("allowance"));
    assertEquals(found.map((text) => text.split(": ").slice(1)), [[`${CONTRACT}:Permit`]]);
  });

  // Starts.

  Deno.test(`${program.name}: listens before its first SDK process is open; requests for keys wait for it`, async () => {
    using control = new StubControl();
    control.script([LIBRARY_INIT, MODE.slow], [SEED_ENTROPY, MODE.slow]);
    await using service = await ServiceProcess.start(launch(serveArgs, control.env));
    using tsk = new Tsk();
    using client = await Client.connect(service.address);
    using second = await Client.connect(service.address);
    const credential = CREDENTIALS;
    const [configured, account] = await Promise.all([
      client.request(tsk.configure()),
      second.exchange({ apiRequest: "generateAccount", credential, name: "alice" }),
    ]);
    assertEquals([configured["msg"], account["apiResponse"]], ["configured", "generateResponse"]);
    await roundTrip(client, tsk);
    const events = service.lines.map(({ event }) => event);
    assert(events.indexOf("listening") < events.indexOf("sdk_open"), events.join());
  });

  Deno.test(`${program.name}: SIGTERM while the first SDK process hangs ends with 0`, async () => {
    using control = new StubControl();
    control.script([LIBRARY_INIT, MODE.hang]);
    await using service = await ServiceProcess.start(launch(serveArgs, control.env));
    await control.called(LIBRARY_INIT);
    using client = await Client.connect(service.address);
    const kms = (await client.exchange({ type: "health" }))["kms"] as Record<string, unknown>;
    assertEquals([kms["sdk_processes"], "entropy_seeded" in kms], [0, false]);
    assertEquals((await service.stop()).code, 0);
  });

  Deno.test(`${program.name}: a first SDK process that cannot open the SDK ends the service with 69 and the reason`, async () => {
    using control = new StubControl();
    control.script([LIBRARY_INIT, MODE.abort]);
    await using service = ServiceProcess.spawn(launch(serveArgs, control.env));
    assertEquals((await service.ended()).code, 69);
    assertStringIncludes(service.stderr, "An SDK process ended: signal SIGABRT");
  });

  const refused: readonly (readonly [string, readonly string[], number, string])[] = [
    [
      "a KMS deadline that is not below the request's",
      [...serveArgs, "--request-ms=45000", "--kms-deadline-ms=45000"],
      2,
      "--request-ms",
    ],
    [
      "a verifying contract without a type",
      [...serveArgs, "--wallet-verifying-contract", CONTRACT],
      2,
      "<contract's address>:<primary type>",
    ],
    ["a folder without libraries", ["--library-dir=/nonexistent"], 69, "/nonexistent/libaws-c-common.so"],
    ["a relative library folder", ["--library-dir=lib"], 69, "not absolute"],
    ["an unknown option", ["serve", "--kms-keys", STUB_KEY_ARN], 2, "Did you mean --kms-key?"],
  ];
  for (const [what, args, code, words] of refused) {
    Deno.test(`${program.name}: ${what} ends it before it listens, and is named`, async () => {
      await using service = ServiceProcess.spawn(launch(args));
      assertEquals((await service.ended()).code, code);
      assertStringIncludes(service.stderr, words);
    });
  }

  // kmstool_enclave_cli's interface.

  const kmstool = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    runTool(program.command, [...program.prefix, ...args], {
      env: { DENCLAVE_LIBRARY_DIR: program.libraryDir, ...env },
    });
  const keys = ["access-key-id", "secret-access-key", "session-token"].map((name) =>
    `--aws-${name}=made-for-tests`
  );
  const wrapped = encodeBase64(stubWrap(new TextEncoder().encode("the plaintext")));
  const plaintextLine = `PLAINTEXT: ${encodeBase64(new TextEncoder().encode("the plaintext"))}\n`;

  const commands: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["decrypt", ...keys, "-c", wrapped], 0, new RegExp(`^${plaintextLine.replace("+", "\\+")}$`)],
    [["genkey", ...keys, "-K", STUB_KEY_ARN, "-p", "AES-256"], 0, /^CIPHERTEXT: \S+\nPLAINTEXT: \S+\n$/],
    [["genrandom", ...keys, "-l", "33"], 0, /^PLAINTEXT: \S+\n$/],
    // What KMS refuses: the reason is on stderr.
    [["decrypt", ...keys, "-c", encodeBase64(new Uint8Array(40))], 255, /^$/],
  ];
  for (const [args, expected, output] of commands) {
    Deno.test(`${program.name}: ${args[0]} that ends with ${expected} does not destroy the client, which may crash`, async () => {
      using control = new StubControl();
      control.script([CLIENT_DESTROY, MODE.segfault + 100], [CLEAN_UP, MODE.segfault + 100]);
      const { code, stdout, stderr } = await kmstool(args, control.env);
      assertEquals([code, output.test(stdout)], [expected, true], stdout);
      assertEquals(stderr.includes("InvalidCiphertextException"), expected === 255, stderr);
      const counts = (...symbols: readonly string[]) => symbols.map((symbol) => control.count(symbol));
      assertEquals(counts(CLIENT_NEW, CLIENT_DESTROY, CLEAN_UP), [1, 0, 0]);
      // The credentials are wiped all the same.
      const [made = 0, wiped] = counts("aws_string_new_from_array", "aws_string_destroy_secure");
      assertEquals([made >= 4, wiped], [true, made]);
    });
  }

  Deno.test(`${program.name}: self-test says what it is, opens the SDK, and skips what a host does not have`, async () => {
    const { code, stdout } = await kmstool(["self-test", "--json"]);
    const { checks } = JSON.parse(stdout);
    const states = Object.fromEntries(
      checks.map((check: Record<string, string>) => [check["check"], check["state"]]),
    );
    assertEquals([states["NSM"], states["libraries"], states["memory"]], ["skipped", "ok", "ok"], stdout);
    // The SDK's stand-in exports no AES-256-GCM.
    assertEquals(states["AES-256-GCM"], "warn");
    assertEquals(code, states["CA certificates"] === "fail" ? 1 : 0);
  });

  Deno.test(`${program.name}: --version and --help end with 0`, async () => {
    assertEquals((await kmstool(["--version"])).code, 0);
    const help = await kmstool(["--help"]);
    assertEquals(help.code, 0);
    assertStringIncludes(help.stdout, "usage: denclave");
  });
}
