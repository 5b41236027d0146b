/** Kernels and boot files that no enclave starts. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  bytesSource,
  checkBootFile,
  checkCommandLine,
  checkDriver,
  checkKernel,
  EifError,
} from "../../../../lib/ctl/eif/mod.ts";
import { elfFile, KERNEL_VERSION, kernelFile, moduleFile } from "../../../fixtures/elf.ts";

const source = (bytes: Uint8Array, name = "file") => bytesSource(bytes, name);
const ARM = kernelFile({ machine: "aarch64" });

Deno.test("a kernel has the magic numbers of its machine: two on x86-64, one on aarch64", async () => {
  await checkKernel(source(kernelFile()), "x86_64");
  await checkKernel(source(ARM), "aarch64");
  await checkKernel(source(ARM));
  const refused: readonly (readonly [Uint8Array, "x86_64" | "aarch64", string])[] = [
    [kernelFile().map((byte, at) => at === 0x1fe ? 0 : byte), "x86_64", "not a kernel"],
    [kernelFile().map((byte, at) => at === 0x202 ? 0 : byte), "x86_64", "not a kernel"],
    [ARM.map((byte, at) => at === 56 ? 0 : byte), "aarch64", "not a kernel"],
    [elfFile(), "x86_64", "not a kernel"],
    [new Uint8Array(0), "x86_64", "not a kernel"],
    [kernelFile(), "aarch64", "a kernel for x86_64"],
  ];
  for (const [bytes, architecture, words] of refused) {
    await assertRejects(() => checkKernel(source(bytes), architecture), EifError, words);
  }
});

Deno.test("init is a static program and nsm.ko a kernel module, of the image's machine", async () => {
  const module = moduleFile();
  await checkBootFile(source(elfFile()), "init", "x86_64");
  await checkBootFile(source(moduleFile({ machine: 183 })), "nsm.ko", "aarch64");
  const refused: readonly (readonly [Uint8Array, "init" | "nsm.ko", "x86_64" | "aarch64", string])[] = [
    [elfFile(), "init", "aarch64", "it is for x86_64, and the image for aarch64"],
    [module, "nsm.ko", "aarch64", "it is for x86_64, and the image for aarch64"],
    [new TextEncoder().encode("#!/bin/sh\n"), "init", "x86_64", "it is not an ELF file"],
    [new TextEncoder().encode("nsm"), "nsm.ko", "x86_64", "it is not an ELF file"],
    [elfFile({ machine: 40 }), "init", "x86_64", "it is for machine 40"],
    [module, "init", "x86_64", "it is not a program"],
    [elfFile(), "nsm.ko", "x86_64", "it is not a kernel module"],
    [moduleFile({ info: undefined }), "nsm.ko", "x86_64", "no .modinfo with a vermagic"],
    [moduleFile({ info: ["name=nsm", "xvermagic=1"] }), "nsm.ko", "x86_64", "no .modinfo with a vermagic"],
    [elfFile({ interpreter: "/lib64/ld.so" }), "init", "x86_64", "there is no /lib64/ld.so where it runs"],
  ];
  for (const [bytes, kind, architecture, words] of refused) {
    await assertRejects(() => checkBootFile(source(bytes), kind, architecture), EifError, words);
  }
});

Deno.test("a kernel, an init or a driver that lacks a byte is refused as cut short", async () => {
  const cut = (bytes: Uint8Array) => source(bytes.slice(0, -1));
  for (const [kernel, machine] of [[kernelFile(), "x86_64"], [ARM, "aarch64"]] as const) {
    await assertRejects(() => checkKernel(cut(kernel), machine), EifError, "was cut short: it has 4095 of");
    await checkKernel(source(new Uint8Array([...kernel, 0])), machine);
  }
  await assertRejects(() => checkBootFile(cut(elfFile()), "init", "x86_64"), EifError, "was cut short");
  await assertRejects(() => checkBootFile(cut(moduleFile()), "nsm.ko", "x86_64"), EifError, "was cut short");
});

Deno.test("a driver is of the kernel's version, which an arm64 kernel says in the text that it prints first", async () => {
  for (const machine of ["x86_64", "aarch64"] as const) {
    const driver = source(moduleFile());
    assertEquals(await checkDriver(driver, source(kernelFile({ machine }))), true);
    const other = source(kernelFile({ machine, version: `${KERNEL_VERSION}.1` }), "kernel");
    await assertRejects(
      () => checkDriver(driver, other),
      EifError,
      `file is for kernel ${KERNEL_VERSION}, and kernel is ${KERNEL_VERSION}.1`,
    );
    // Nothing to compare with.
    assertEquals(await checkDriver(driver, source(kernelFile({ machine, version: undefined }))), false);
  }
});

Deno.test("a kernel command line has 1 to 2047 bytes", () => {
  for (const good of ["a", "a".repeat(2047)]) checkCommandLine(good);
  assertThrows(() => checkCommandLine(""), EifError, "is empty");
  assertThrows(() => checkCommandLine(" \n"), EifError, "is empty");
  assertThrows(() => checkCommandLine("a".repeat(2048)), EifError, "has 2048 bytes, and kernels take 2047");
  assertThrows(() => checkCommandLine("é".repeat(1024)), EifError, "has 2048 bytes");
});
