/** The types of the client's replies, and a client over a stream that the caller brings. */
import { assertEquals, assertRejects } from "@std/assert";
import { Client, EnclaveError, type ReplyOf, ServiceError } from "../../../../lib/ctl/client/client.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import type { ErrorCode } from "../../../../lib/shared/wire/messages.ts";
import { startTestService } from "../../../helpers/test_service.ts";

/** Compiles only where the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
const isSame = <A, B>(same: Same<A, B>) => same;

async function start() {
  const service = startTestService({ kms: await LocalKms.open({ region: "us-east-1" }) });
  const client = await Client.connect(service.address, { timeoutMs: 20_000 });
  return {
    service,
    client,
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      await service[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a reply has the type of its request, and status tells it from an error", async () => {
  await using rig = await start();
  const pong = await rig.client.request({ type: "ping" });
  isSame<typeof pong, ReplyOf<"ping">>(true);
  isSame<typeof pong.timestamp, string>(true);
  assertEquals(pong.msg, "pong");
  const processed = await rig.client.exchange({ type: "process", ciphertext: "00" });
  if (processed.status === "ok") isSame<typeof processed.result, string>(true);
  else {
    isSame<typeof processed.msg, ErrorCode>(true);
    assertEquals(processed.msg, "not_configured");
  }
  // @ts-expect-error -- no bytes are text
  rig.client.request({ type: "process", ciphertext: 7 }).then((reply) => reply.result.length).catch(() => {});
  const signed = await rig.client.exchange({ apiRequest: "generateAccount", name: "alice" });
  if (signed.status === undefined) isSame<typeof signed.content.address, string>(true);
  else assertEquals(signed.msg, "missing_fields");
});

Deno.test("request throws the wallet's error replies, too", async () => {
  await using rig = await start();
  const error = await assertRejects(
    () => rig.client.request({ apiRequest: "generateAccount", name: "alice" }),
    ServiceError,
  );
  assertEquals(error.code, "missing_fields");
});

Deno.test("a client works over a stream that the caller brings, and closes it", async () => {
  await using rig = await start();
  const { hostname, port } = rig.service.address;
  const connection = await Deno.connect({ hostname, port });
  let closed = 0;
  {
    using client = Client.over({
      read: (into) => connection.read(into),
      write: (bytes) => connection.write(bytes),
      close: () => {
        closed++;
        connection.close();
      },
    }, { framing: "u64le", timeoutMs: 20_000 });
    assertEquals((await client.request({ type: "ping" })).msg, "pong");
  }
  assertEquals(closed, 1);
});

Deno.test("a stream that ends, or sends nothing in time, is an error", async () => {
  const silent = {
    read: () => new Promise<null>(() => {}),
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    close() {},
  };
  for (
    const [stream, words] of [
      [silent, "nothing came within 20 ms"],
      [{ ...silent, read: () => Promise.resolve(null) }, "closed the connection"],
    ] as const
  ) {
    using client = Client.over(stream, { timeoutMs: 20 });
    const error = await assertRejects(() => client.exchange({ type: "ping" }), EnclaveError, words);
    assertEquals(error.code, "no_reply");
  }
});

Deno.test("a client works over web streams whose pieces are of any length, and ends them", async () => {
  await using rig = await start();
  const { hostname, port } = rig.service.address;
  const connection = await Deno.connect({ hostname, port });
  const bytewise = new TransformStream<Uint8Array, Uint8Array>({
    transform: (piece, controller) => piece.forEach((byte) => controller.enqueue(Uint8Array.of(byte))),
  });
  {
    const { readable, writable } = connection;
    using client = Client.over({ readable: readable.pipeThrough(bytewise), writable }, { timeoutMs: 20_000 });
    assertEquals((await client.request({ type: "ping" })).msg, "pong");
    assertEquals((await client.request({ type: "ping" })).msg, "pong");
  }
  // Closed, or aborted: Deno closes the connection with its streams.
  await assertRejects(() => connection.write(new Uint8Array(1)), Error);
});

Deno.test("a socket of Node's that decodes text, fails or is ended is an error, not an end of the process", async () => {
  const socket = (pieces: () => AsyncGenerator<unknown>) => ({
    [Symbol.asyncIterator]: pieces,
    write: (_bytes: Uint8Array, done: () => void) => done(),
    destroy() {},
    on() {},
  });
  for (
    const [pieces, words] of [
      [async function* () {
        yield "text";
      }, "it has an encoding"],
      [async function* () {}, "closed the connection"],
      [async function* () {
        yield new Uint8Array(0);
        throw new Error("connect ECONNREFUSED");
      }, "connect ECONNREFUSED"],
    ] as const
  ) {
    using client = Client.over(socket(pieces), { timeoutMs: 20_000 });
    const error = await assertRejects(() => client.exchange({ type: "ping" }), EnclaveError, words);
    assertEquals(error.code, "no_reply");
  }
});
