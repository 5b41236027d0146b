/** Random numbers of the kernel, from a mocked C library and the real one; small files, through the real one. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { constants } from "node:os";
import { Kernel } from "../../../ffi/kernel.ts";
import type { Dlopen } from "../../../ffi/library.ts";
import { EnclaveError } from "../../../lib/shared/errors.ts";
import { Folder } from "../../helpers/folder.ts";

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
  return { kernel: new Kernel("read random numbers", dlopen), asked, flags };
}

Deno.test("random numbers come from getrandom(2), which waits until the kernel has some", () => {
  const { kernel, asked, flags } = kernelGiving([12]);
  kernel.fillRandom(new Uint8Array(12));
  assertEquals([asked, flags], [[12n], [0]]);
});

Deno.test("getrandom is called again for what is missing, after a short read and after a signal", () => {
  const { kernel, asked } = kernelGiving([
    { errno: constants.errno.EINTR },
    5,
    { errno: constants.errno.EINTR },
    1,
    6,
  ]);
  const bytes = new Uint8Array(12);
  kernel.fillRandom(bytes);
  assertEquals(asked, [12n, 12n, 7n, 7n, 6n]);
  assertEquals([...bytes], [2, 2, 2, 2, 2, 4, 5, 5, 5, 5, 5, 5]);
});

for (
  const [what, answers, words] of [
    ["an error", [{ errno: constants.errno.EPERM }], "getrandom gave EPERM"],
    ["an error after a short read", [5, { errno: constants.errno.EFAULT }], "getrandom gave EFAULT"],
    ["no byte", [0], "getrandom gave no byte"],
    ["no byte after a short read", [5, 0], "getrandom gave no byte"],
  ] as const
) {
  Deno.test(`a kernel that gives ${what} instead of random numbers is an error`, () => {
    assertThrows(() => kernelGiving(answers).kernel.fillRandom(new Uint8Array(12)), EnclaveError, words);
  });
}

Deno.test("the kernel's random numbers fill a part of an array, whatever its length, and nothing beside it", () => {
  using kernel = new Kernel("read random numbers");
  const seen = new Set<string>();
  for (const length of [0, 1, 12, 32, 256, 257, 100_000]) {
    const whole = new Uint8Array(length + 2);
    kernel.fillRandom(whole.subarray(1, length + 1));
    assertEquals([whole[0], whole[length + 1]], [0, 0]);
    // By chance, two are equal once in 2^96 runs.
    if (length >= 12) seen.add(whole.subarray(1, 13).join());
  }
  assertEquals([seen.size, seen.has(new Uint8Array(12).join())], [5, false]);
});

Deno.test("without a C library nothing is opened, and every path that was tried is named", () => {
  const dlopen = (path: string): never => {
    throw new Error(`no ${path}`);
  };
  const error = assertThrows(() => new Kernel("look", dlopen), EnclaveError, "no /usr/lib/libc.so.6");
  assertEquals(error.code, "libc");
});

Deno.test("a small file is read whole up to the limit, and a larger one is refused", async () => {
  await using folder = await Folder.make();
  const path = `${folder.path}/file`;
  using kernel = new Kernel("read a file");
  for (const length of [0, 1, 100]) {
    const content = crypto.getRandomValues(new Uint8Array(length));
    await Deno.writeFile(path, content);
    assertEquals(kernel.readFile(path, 100), content);
  }
  await Deno.writeFile(path, new Uint8Array(101));
  const error = assertThrows(() => kernel.readFile(path, 100), EnclaveError, "more than 100 bytes");
  assertEquals(error.code, "file_unreadable");
});

Deno.test("a file of /sys is read, which Deno's own functions refuse; what is not there is undefined, and a folder no file", () => {
  using kernel = new Kernel("read a file");
  assertMatch(new TextDecoder().decode(kernel.readFile("/sys/devices/system/cpu/possible", 256)), /^[0-9]/);
  assertEquals([kernel.readFile("/nowhere/file", 10), kernel.readFile("/dev/null/file", 10)], [
    undefined,
    undefined,
  ]);
  assertEquals([kernel.exists("/dev/null"), kernel.exists("/nowhere")], [true, false]);
  assertThrows(() => kernel.readFile("/proc", 10), EnclaveError, "read gave EISDIR");
});

Deno.test("addresses that nothing is mapped at are known without a look", () => {
  using kernel = new Kernel("look which memory is mapped");
  for (const address of [0x1000n, 0x2008n, 1n << 46n, (1n << 47n) + 8n]) {
    assertEquals(kernel.isMapped(address, 8), false);
  }
});
