/** Addresses. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { formatAddress, parseAddress, type Stream, writeAll } from "../../../../lib/shared/wire/address.ts";
import { connect } from "../../../../lib/shared/wire/connect.ts";
import { listen } from "../../../../lib/shared/wire/listen.ts";
import { within } from "../../../helpers/deadline.ts";

for (
  const text of [
    "",
    "vsock",
    "vsock:5000",
    "vsock:-2:1",
    "vsock:1:4294967296",
    "tcp::80",
    "tcp:host:65536",
    "unix:",
    "http://a:1",
    "tcp:a:b",
    "vsock:4294967296:5000",
    "tcp:[]:80",
  ]
) {
  Deno.test(`${JSON.stringify(text)} is refused with the three forms`, () => {
    const error = assertThrows(() => parseAddress(text), EnclaveError);
    assertEquals([error.code, error.hint?.includes("unix:<path>")], ["invalid_address", true]);
  });
}

Deno.test("connecting to an address without a listener is reported", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const error = await assertRejects(
    () => connect({ transport: "tcp", hostname: "127.0.0.1", port }, 2_000),
    EnclaveError,
  );
  assertEquals(error.code, "connect_failed");
});

Deno.test("connecting fails at its deadline, and a connection that is made later is closed", async () => {
  // Room for one connection that nobody accepts: Linux lets the second one wait until there is room again.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 0 });
  const address = { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port } as const;
  const first = await connect(address, 5_000);
  const error = await assertRejects(() => connect(address, 50), EnclaveError, "no answer within 50 ms");
  assertEquals(error.code, "connect_failed");
  (await listener.accept()).close();
  first.close();
  using late = await listener.accept();
  assertEquals(await within(late.read(new Uint8Array(1)), "the end of the late connection"), null);
});

Deno.test("a connection that is made in time is that of the listener", async () => {
  const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  using _listening = listener;
  const stream = await connect(address, 5_000);
  using accepted = await listener.accept();
  await writeAll(stream, new Uint8Array([1, 2, 3]), address.transport);
  stream.close();
  const bytes = new Uint8Array(8);
  assertEquals([await accepted.read(bytes), bytes.slice(0, 3)], [3, new Uint8Array([1, 2, 3])]);
});

Deno.test("an address in use is reported, with a remedy", () => {
  const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  using _listening = listener;
  const error = assertThrows(
    () => listen(address),
    EnclaveError,
    `Cannot listen on ${formatAddress(address)}`,
  );
  assertEquals([error.code, error.hint?.includes("Another process")], ["listen_failed", true]);
});

Deno.test({
  name: "an address that no permission covers is said to be",
  ignore: Deno.permissions.querySync({ name: "net", host: "192.0.2.1" }).state === "granted",
  fn: () => {
    const error = assertThrows(
      () => listen({ transport: "tcp", hostname: "192.0.2.1", port: 0 }),
      EnclaveError,
    );
    assertEquals([error.code, error.hint?.includes("build of its own")], ["listen_failed", true]);
  },
});

/** Takes at most so many bytes at a time. */
function slowStream(
  most: number,
): { readonly stream: Stream; readonly lengths: number[]; readonly taken: number[] } {
  const lengths: number[] = [];
  const taken: number[] = [];
  const write = (bytes: Uint8Array) => {
    lengths.push(bytes.length);
    taken.push(...bytes.subarray(0, most));
    return Promise.resolve(Math.min(bytes.length, most));
  };
  return { stream: { read: () => Promise.resolve(null), write, close: () => {} }, lengths, taken };
}

Deno.test("over vsock no write is larger than 32 KiB; elsewhere there is one write", async () => {
  const bytes = new Uint8Array(100_000);
  const [vsock, tcp] = [slowStream(Infinity), slowStream(Infinity)];
  await writeAll(vsock.stream, bytes, "vsock");
  await writeAll(tcp.stream, bytes, "tcp");
  assertEquals([vsock.lengths, tcp.lengths], [[32_768, 32_768, 32_768, 1_696], [100_000]]);
});

Deno.test("a write that takes a part is followed by the rest, in order", async () => {
  const bytes = Uint8Array.from({ length: 20 }, (_, index) => index);
  const { stream, taken } = slowStream(7);
  await writeAll(stream, bytes, "tcp");
  assertEquals(taken, [...bytes]);
});
