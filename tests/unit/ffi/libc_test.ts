/** What is asked of the C library about this process. */
import { assertEquals, assertThrows } from "@std/assert";
import { dieWithParent, ERRNO, openKernelRandom, openMemoryMap } from "../../../ffi/libc.ts";
import type { Dlopen } from "../../../ffi/mod.ts";
import { EnclaveError } from "../../../lib/shared/errors.ts";

/** A C library that notes what it was asked. */
function libcWith(prctl: number, getppid: number): { readonly dlopen: Dlopen; readonly asked: unknown[][] } {
  const asked: unknown[][] = [];
  const symbols = {
    prctl: (...args: unknown[]) => (asked.push(args), prctl),
    getppid: () => getppid,
  };
  const dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>() =>
    ({ symbols, close: () => {} }) as unknown as Deno.DynamicLibrary<S>;
  return { dlopen, asked };
}

Deno.test("the kernel is asked to kill this process with its parent: PR_SET_PDEATHSIG, SIGKILL", () => {
  const { dlopen, asked } = libcWith(0, 7);
  assertEquals(dieWithParent(7, dlopen), true);
  assertEquals(asked, [[1, 9n, 0n, 0n, 0n]]);
});

Deno.test("a parent that has ended already is detected by its process id", () => {
  assertEquals(dieWithParent(7, libcWith(0, 1).dlopen), false);
});

Deno.test("a refusal by the kernel is an error", () => {
  assertThrows(() => dieWithParent(7, libcWith(-1, 7).dlopen), EnclaveError, "PR_SET_PDEATHSIG");
});

Deno.test("addresses that nothing is mapped at are known without a look", () => {
  using map = openMemoryMap();
  for (const address of [0x1000n, 0x2008n, 1n << 46n, (1n << 47n) + 8n]) {
    assertEquals(map.isMapped(address, 8), false);
  }
});

/** A kernel that gives so many random bytes each time, all of one value, or an errno. */
function kernelGiving(answers: readonly (number | { readonly errno: number })[]) {
  const asked: bigint[] = [];
  const flags: number[] = [];
  let errno = 0;
  const symbols = {
    getrandom: (into: Uint8Array, length: bigint, flag: number) => {
      const answer = answers[asked.length] ?? 0;
      asked.push(length);
      flags.push(flag);
      if (typeof answer !== "number") {
        errno = answer.errno;
        return -1n;
      }
      into.fill(asked.length, 0, answer);
      return BigInt(answer);
    },
    __errno_location: () => 0x1000n,
    read_memory: (into: Uint8Array) => {
      new DataView(into.buffer).setInt32(0, errno, true);
      return 0n;
    },
  };
  const dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>() =>
    ({ symbols, close: () => {} }) as unknown as Deno.DynamicLibrary<S>;
  return { dlopen, asked, flags };
}

Deno.test("random numbers come from getrandom(2), which waits until the kernel has some", () => {
  const { dlopen, asked, flags } = kernelGiving([12]);
  using kernel = openKernelRandom(dlopen);
  kernel.fill(new Uint8Array(12));
  assertEquals([asked, flags], [[12n], [0]]);
});

Deno.test("getrandom is called again for what is missing, after a short read and after a signal", () => {
  const { dlopen, asked } = kernelGiving([{ errno: ERRNO.EINTR }, 5, { errno: ERRNO.EINTR }, 1, 6]);
  using kernel = openKernelRandom(dlopen);
  const bytes = new Uint8Array(12);
  kernel.fill(bytes);
  assertEquals(asked, [12n, 12n, 7n, 7n, 6n]);
  assertEquals([...bytes], [2, 2, 2, 2, 2, 4, 5, 5, 5, 5, 5, 5]);
});

for (
  const [what, answers, words] of [
    ["an error", [{ errno: ERRNO.EPERM }], "getrandom gave EPERM"],
    ["an error after a short read", [5, { errno: ERRNO.EFAULT }], "getrandom gave EFAULT"],
    ["no byte", [0], "getrandom gave no byte"],
    ["no byte after a short read", [5, 0], "getrandom gave no byte"],
  ] as const
) {
  Deno.test(`a kernel that gives ${what} instead of random numbers is an error`, () => {
    using kernel = openKernelRandom(kernelGiving(answers).dlopen);
    assertThrows(() => kernel.fill(new Uint8Array(12)), EnclaveError, words);
  });
}

Deno.test("the kernel's random numbers fill a part of an array, whatever its length, and nothing beside it", () => {
  using kernel = openKernelRandom();
  for (const length of [0, 1, 12, 32, 256, 257, 100_000]) {
    const whole = new Uint8Array(length + 2);
    kernel.fill(whole.subarray(1, length + 1));
    assertEquals([whole[0], whole[length + 1]], [0, 0]);
    // By chance, 12 bytes are all zero once in 2^96 runs.
    if (length >= 12) assertEquals(whole.some((byte) => byte !== 0), true);
  }
});

Deno.test("the kernel's random numbers differ each time", () => {
  using kernel = openKernelRandom();
  const drawn = Array.from({ length: 1_000 }, () => {
    const bytes = new Uint8Array(12);
    kernel.fill(bytes);
    return bytes.join();
  });
  assertEquals(new Set(drawn).size, 1_000);
});
