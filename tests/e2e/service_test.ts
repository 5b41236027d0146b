/**
 * The service over real sockets, with the local KMS: clients in other languages, and clients that misbehave. It is `scripts/dev.ts`, as its own
 * process.
 */
import { assert, assertEquals } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import type { Address, Stream } from "../../lib/shared/wire/address.ts";
import { connect } from "../../lib/shared/wire/connect.ts";
import { encodeMessage } from "../../lib/shared/wire/framing.ts";
import { devLaunch } from "../helpers/ctl_process.ts";
import { ServiceProcess, within } from "../helpers/service_process.ts";
import { roundTrip, Tsk } from "./production_suite.ts";
import { skipTests } from "../helpers/skip.ts";
import { assertPostCarriesOutNothing } from "../helpers/web_page.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const CREDENTIALS = { AccessKeyId: "ASIATEST", SecretAccessKey: "made-for-tests", Token: "made-for-tests" };
const encoder = new TextEncoder();

interface Setup {
  readonly service: ServiceProcess & { readonly address: Address };
  readonly client: Client;
  readonly tsk: Tsk;
  /** A `configure` for the service's key. */
  readonly configure: Record<string, unknown>;
}

function test(behaviour: string, args: readonly string[], run: (setup: Setup) => Promise<void>): void {
  Deno.test(behaviour, async () => {
    const directory = await Deno.makeTempDir({ prefix: "denclave-e2e-" });
    try {
      const file = `${directory}/keys.json`;
      using tsk = new Tsk();
      const wrapped = await wrapTsk(file, tsk);
      await using service = await ServiceProcess.start(
        devLaunch([...args.map((arg) => arg.replace("DIR", directory)), "--kms-local-file", file]),
      );
      using client = await Client.connect(service.address, { timeoutMs: 20_000 });
      await run({
        service,
        client,
        tsk,
        configure: { type: "configure", encrypted_tsk: encodeBase64(wrapped), credential: CREDENTIALS },
      });
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Makes the key file of a service, and a session key wrapped by its key. In a process of its own: it needs FFI on libc. */
async function wrapTsk(file: string, tsk: Tsk): Promise<Uint8Array> {
  const module = new URL("../helpers/wrap_tsk.ts", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${ROOT}deno.json`,
      "--allow-read",
      "--allow-write",
      `--allow-ffi=${LIBC_PATHS.join(",")}`,
      module,
      file,
      encodeHex(tsk.raw),
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return decodeBase64(new TextDecoder().decode(stdout).trim());
}

/** Reads until the other side closes, or something is there. */
async function readSome(stream: Stream): Promise<string> {
  const buffer = new Uint8Array(65_536);
  const length = await within(10_000, "a reply", stream.read(buffer));
  return length === null ? "" : new TextDecoder().decode(buffer.subarray(0, length));
}

const hasPython = await new Deno.Command("python3", { args: ["--version"] }).output().then(
  ({ success }) => success,
  () => false,
);
if (!hasPython) skipTests("the Python clients, since there is no python3 on this machine");

for (const framing of ["raw", "u32be", "u64le"]) {
  test(
    `a Python client that speaks ${framing} configures and processes`,
    [],
    async ({ service, tsk, configure }) => {
      assert(service.address.transport === "tcp");
      const data = encoder.encode("some workflow data");
      const requests = [{ type: "ping" }, configure, { type: "process", ciphertext: await tsk.seal(data) }, {
        type: "nonsense",
      }];
      const { success, stdout, stderr } = await new Deno.Command("python3", {
        args: [
          `${ROOT}tests/e2e/clients.py`,
          framing,
          "127.0.0.1",
          String(service.address.port),
          ...requests.map((request) => JSON.stringify(request)),
        ],
        stdout: "piped",
        stderr: "piped",
      }).output();
      assert(success, new TextDecoder().decode(stderr));
      const replies = new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line));
      assertEquals(replies.map((reply) => reply.msg), ["pong", "configured", undefined, "unknown_type"]);
      assertEquals(await tsk.open(replies[2].result), data);
    },
  );
}

test(
  "a Unix socket serves as TCP does",
  ["--listen", "unix:DIR/service.sock"],
  async ({ client, tsk, configure }) => {
    await client.request(configure);
    await roundTrip(client, tsk, 60_000);
  },
);

test("interleaved clients each get their own answers", [], async ({ service, client, tsk, configure }) => {
  await client.request(configure);
  const clients = await Promise.all(Array.from({ length: 16 }, () => Client.connect(service.address)));
  await Promise.all(clients.map(async (each, index) => {
    for (let request = 0; request < 20; request++) await roundTrip(each, tsk, 100 * index + request);
    each[Symbol.dispose]();
  }));
});

Deno.test("a web page's POST of 23 requests to the development service carries out none of them", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await assertPostCarriesOutNothing(service.address);
});

test(
  "clients that vanish in mid-request leave nothing behind",
  ["--max-connections", "8"],
  async ({ service, client, tsk, configure }) => {
    await client.request(configure);
    const ciphertext = await tsk.seal(new Uint8Array(60_000));
    for (let round = 0; round < 60; round++) {
      const stream = await connect(service.address, 5_000);
      const message = encodeMessage("u32be", { type: "process", ciphertext });
      await stream.write(round % 2 === 0 ? message : message.subarray(0, 1_000));
      stream.close();
    }
    await eventually(async () => (await client.exchange({ type: "health" }))["connections"] === 1);
    await roundTrip(client, tsk);
  },
);

test(
  "1,000 connections against a limit of 64: 64 are served, the others get busy or are closed, and it goes on",
  [],
  async ({ service, client }) => {
    const streams: Stream[] = [];
    try {
      const opened = await Promise.allSettled(
        Array.from({ length: 1_000 }, () => connect(service.address, 20_000)),
      );
      for (const result of opened) if (result.status === "fulfilled") streams.push(result.value);
      const replies = await Promise.all(streams.map(async (stream) => {
        try {
          await stream.write(encodeMessage("u32be", { type: "ping" }));
          return await readSome(stream);
        } catch {
          return "";
        }
      }));
      const count = (word: string) => replies.filter((reply) => reply.includes(word)).length;
      // This client holds one of the 64.
      assertEquals(count("pong"), 63);
      assert(count("busy") > 0, "nobody was told");
      assertEquals((await client.exchange({ type: "ping" }))["msg"], "pong");
    } finally {
      for (const stream of streams) closing(stream)[Symbol.dispose]();
    }
    await eventually(async () => {
      using another = await Client.connect(service.address, { timeoutMs: 2_000 });
      return (await another.exchange({ type: "ping" }))["msg"] === "pong";
    });
  },
);

/** A stream that `using` closes, whether it still is open or not. */
function closing(stream: Stream): Stream & Disposable {
  return {
    read: (buffer) => stream.read(buffer),
    write: (bytes) => stream.write(bytes),
    close: () => stream.close(),
    [Symbol.dispose]: () => {
      try {
        stream.close();
      } catch {
        // It was closed.
      }
    },
  };
}

/** Asks again until it is so. @throws after ten seconds. */
async function eventually(is: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!await is().catch(() => false)) {
    if (Date.now() > deadline) throw new Error("it did not come to be within ten seconds");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("--port alone moves the development service to that TCP port of loopback", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await using service = await ServiceProcess.start(devLaunch(["--port", String(port)]));
  assertEquals(service.address, { transport: "tcp", hostname: "127.0.0.1", port });
});
