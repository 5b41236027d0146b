/** Addresses. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EnclaveError } from "../../lib/errors.ts";
import { connect, formatAddress, parseAddress } from "../../lib/wire/address.ts";

for (
  const text of ["vsock:-1:5000", "vsock:16:5000", "tcp:127.0.0.1:0", "tcp:[::1]:80", "unix:/run/a b.sock"]
) {
  Deno.test(`${text} is read and written the same`, () =>
    assertEquals(formatAddress(parseAddress(text)), text));
}

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
  ]
) {
  Deno.test(`${JSON.stringify(text)} is refused with the three forms`, () => {
    const error = assertThrows(() => parseAddress(text), EnclaveError);
    assertEquals([error.code, error.hint?.includes("unix:<path>")], ["invalid_address", true]);
  });
}

Deno.test("connecting where nobody listens says so", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const error = await assertRejects(
    () => connect({ transport: "tcp", hostname: "127.0.0.1", port }, 2_000),
    EnclaveError,
  );
  assertEquals(error.code, "connect_failed");
});
