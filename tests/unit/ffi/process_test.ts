/** What an SDK process asks the kernel for. */
import { assertEquals, assertThrows } from "@std/assert";
import type { Dlopen } from "../../../ffi/library.ts";
import { dieWithParent, openMemoryMap } from "../../../ffi/process.ts";
import { EnclaveError } from "../../../lib/shared/errors.ts";

/** A C library that notes what it was asked. */
function libcWith(prctl: number, getppid: number): { readonly dlopen: Dlopen; readonly asked: unknown[][] } {
  const asked: unknown[][] = [];
  const symbols = { prctl: (...args: unknown[]) => (asked.push(args), prctl), getppid: () => getppid };
  const dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>() =>
    ({ symbols, close: () => {} }) as unknown as Deno.DynamicLibrary<S>;
  return { dlopen, asked };
}

Deno.test("the kernel is asked to kill this process with its parent (PR_SET_PDEATHSIG, SIGKILL), and a parent that has ended is detected", () => {
  const { dlopen, asked } = libcWith(0, 7);
  assertEquals(dieWithParent(7, dlopen), true);
  assertEquals(asked, [[1, 9n, 0n, 0n, 0n]]);
  assertEquals(dieWithParent(7, libcWith(0, 1).dlopen), false);
});

Deno.test("a refusal by the kernel is an error", () => {
  assertThrows(() => dieWithParent(7, libcWith(-1, 7).dlopen), EnclaveError, "PR_SET_PDEATHSIG");
});

Deno.test("addresses that nothing is mapped at are known without a look", () => {
  const isMapped = openMemoryMap();
  for (const address of [0x1000n, 0x2008n, 1n << 46n, (1n << 47n) + 8n]) {
    assertEquals(isMapped(address, 8), false);
  }
});
