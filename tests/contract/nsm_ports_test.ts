/** The ports of the production entry, with a stand-in in C for the NSM's device: where keys come from, with and without it. */
import { assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { encode } from "cborg";
import type { Dlopen } from "../../ffi/library.ts";
import { constants } from "node:os";
import { openNsmPorts } from "../../lib/enclave/cli/nsm_ports.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const STUB = `${NATIVE_DIR}/libnsm-libc-stub.so`;

const control = Deno.dlopen(STUB, {
  nsm_stub_script: { parameters: ["i32", "i32", "u64", "u32"], result: "void" }, // open's errno, ioctl's, claimed length, repeats
  nsm_stub_answer: { parameters: ["buffer", "usize"], result: "void" },
  nsm_stub_open: { parameters: [], result: "i32" },
}).symbols;

/** The stand-in in place of the C library, on a machine with the device or without; opening the device may fail. */
function machine(
  { hasDevice, openErrno = 0 }: { readonly hasDevice: boolean; readonly openErrno?: number },
): Dlopen {
  return <const S extends Deno.ForeignLibraryInterface>(_path: string, symbols: S) => {
    const library = Deno.dlopen(STUB, symbols);
    const real = library.symbols as Readonly<Record<string, (...args: readonly unknown[]) => unknown>>;
    const scripted: typeof real = {
      ...real,
      access: () => hasDevice ? 0 : -1,
      open: (path, flags) => {
        const isDevice = new TextDecoder().decode(path as Uint8Array).startsWith("/dev/nsm");
        control.nsm_stub_script(isDevice ? openErrno : constants.errno.ENOENT, 0, 0n, 1);
        return real["open"]?.(path, flags);
      },
    };
    return { symbols: scripted, close: () => library.close() } as unknown as Deno.DynamicLibrary<S>;
  };
}

/** What the module answers to everything from now on. */
function answer(value: unknown): void {
  const bytes = new Uint8Array(encode(value));
  control.nsm_stub_answer(bytes, BigInt(bytes.length));
}

async function secretOf(ports: Awaited<ReturnType<typeof openNsmPorts>>): Promise<string> {
  using secret = await ports.entropy.random.secret("test", 32);
  return secret.expose().join();
}

Deno.test("with an NSM, keys are made with its GetRandom", async () => {
  using ports = await openNsmPorts(undefined, machine({ hasDevice: true }));
  assertEquals(ports.entropy.random.sources, "NSM, kernel, runtime");
  answer({ GetRandom: { random: new Uint8Array(256).fill(1) } });
  assertNotEquals(await secretOf(ports), await secretOf(ports));
});

for (
  const [what, refusal] of [
    ["an error", { Error: "InternalError" }],
    ["too few bytes", { GetRandom: { random: new Uint8Array(16) } }],
    ["another answer", "DescribeNSM"],
  ] as const
) {
  Deno.test(`an NSM that answers GetRandom with ${what}: no key is made, and nonces are`, async () => {
    using ports = await openNsmPorts(undefined, machine({ hasDevice: true }));
    answer(refusal);
    await assertRejects(() => secretOf(ports), EnclaveError);
    assertNotEquals(ports.entropy.random.bytes(12), ports.entropy.random.bytes(12));
  });
}

Deno.test("an NSM whose ioctl fails: no key is made", async () => {
  using ports = await openNsmPorts(undefined, machine({ hasDevice: true }));
  control.nsm_stub_script(0, constants.errno.EIO, 0n, 1);
  await assertRejects(() => secretOf(ports), EnclaveError, "EIO");
});

Deno.test("an NSM that does not open: no key is made, nonces are, and a warning says why", async () => {
  using ports = await openNsmPorts(undefined, machine({ hasDevice: true, openErrno: constants.errno.EBUSY }));
  await assertRejects(() => secretOf(ports), EnclaveError, "EBUSY");
  assertEquals([ports.attester, ports.entropy.random.sources], [undefined, "NSM, kernel, runtime"]);
  assertNotEquals(ports.entropy.random.bytes(12), ports.entropy.random.bytes(12));
  assertStringIncludes(ports.warnings.join(), "EBUSY");
});

Deno.test("a host without an NSM makes keys of kernel and runtime, and says so", async () => {
  using ports = await openNsmPorts(undefined, machine({ hasDevice: false }));
  assertEquals(ports.entropy.random.sources, "no NSM, kernel, runtime");
  assertNotEquals(await secretOf(ports), await secretOf(ports));
});

for (
  const [what, given, opened] of [
    ["with an NSM what sets the clock is opened", { hasDevice: true }, 1],
    [
      "with an NSM that does not open, what sets the clock is not opened",
      { hasDevice: true, openErrno: constants.errno.EBUSY },
      0,
    ],
    ["on a host what sets the clock is not opened", { hasDevice: false }, 0],
  ] as const
) {
  Deno.test(what, async () => {
    const set: number[] = [];
    let count = 0;
    const openClock = () => (count++, (time: number) => void set.push(time));
    using ports = await openNsmPorts(openClock, machine(given));
    assertEquals([count, ports.clock !== undefined, set], [opened, opened === 1, []]);
  });
}

Deno.test("without a C library there are no ports", async () => {
  const dlopen: Dlopen = () => {
    throw new TypeError("in a test");
  };
  assertEquals((await assertRejects(() => openNsmPorts(undefined, dlopen), EnclaveError)).code, "libc");
});

Deno.test("disposing of the ports closes the device", () => {
  assertEquals(control.nsm_stub_open(), 0);
});
