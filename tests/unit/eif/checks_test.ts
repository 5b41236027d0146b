/** Kernels and boot files that no enclave starts. */
import { assertRejects } from "@std/assert";
import { bytesSource, checkBootFile, checkKernel, EifError } from "../../../lib/eif/mod.ts";
import { elfFile, kernelFile } from "../../fixtures/elf.ts";

const source = (bytes: Uint8Array, name = "file") => bytesSource(bytes, name);

Deno.test("a kernel has the magic numbers of its machine: two on x86-64, one on aarch64", async () => {
  await checkKernel(source(kernelFile()), "x86_64");
  await checkKernel(source(kernelFile("aarch64")), "aarch64");
  await checkKernel(source(kernelFile("aarch64")));
  const refused: readonly (readonly [Uint8Array, "x86_64" | "aarch64", string])[] = [
    [kernelFile().map((byte, at) => at === 0x1fe ? 0 : byte), "x86_64", "not a kernel"],
    [kernelFile().map((byte, at) => at === 0x202 ? 0 : byte), "x86_64", "not a kernel"],
    [kernelFile("aarch64").map((byte, at) => at === 56 ? 0 : byte), "aarch64", "not a kernel"],
    [elfFile(), "x86_64", "not a kernel"],
    [new Uint8Array(0), "x86_64", "not a kernel"],
    [kernelFile(), "aarch64", "a kernel for x86_64"],
  ];
  for (const [bytes, architecture, words] of refused) {
    await assertRejects(() => checkKernel(source(bytes), architecture), EifError, words);
  }
});

Deno.test("init is a static program and nsm.ko a kernel module, of the image's machine", async () => {
  const module = elfFile({ relocatable: true });
  await checkBootFile(source(elfFile()), "init", "x86_64");
  await checkBootFile(source(elfFile({ machine: 183, relocatable: true })), "nsm.ko", "aarch64");
  const refused: readonly (readonly [Uint8Array, "init" | "nsm.ko", "x86_64" | "aarch64", string])[] = [
    [elfFile(), "init", "aarch64", "it is for x86_64, and the image for aarch64"],
    [module, "nsm.ko", "aarch64", "it is for x86_64, and the image for aarch64"],
    [new TextEncoder().encode("#!/bin/sh\n"), "init", "x86_64", "it is not an ELF file"],
    [new TextEncoder().encode("nsm"), "nsm.ko", "x86_64", "it is not an ELF file"],
    [elfFile({ machine: 40 }), "init", "x86_64", "it is not an ELF file for an enclave"],
    [module, "init", "x86_64", "it is not a program"],
    [elfFile(), "nsm.ko", "x86_64", "it is not a kernel module"],
    [elfFile({ interpreter: "/lib64/ld.so" }), "init", "x86_64", "there is no /lib64/ld.so where it runs"],
  ];
  for (const [bytes, kind, architecture, words] of refused) {
    await assertRejects(() => checkBootFile(source(bytes), kind, architecture), EifError, words);
  }
});
