/**
 * What an SDK process needs of the kernel: to end with its parent, and to know which memory is mapped.
 *
 * Permission: FFI on one of `LIBC_PATHS`.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";
import { stableBytes } from "./layout.ts";
import { openLibc } from "./libc.ts";
import type { Dlopen } from "./library.ts";

/** `prctl` is variadic in C; its arguments are words. */
export const PROCESS_SYMBOLS = {
  // sys/prctl.h, unistd.h
  prctl: {
    parameters: [
      "i32", // int option
      "usize", // unsigned long arg2
      "usize", // unsigned long arg3
      "usize", // unsigned long arg4
      "usize", // unsigned long arg5
    ],
    result: "i32", // 0; -1 with errno
  },
  getppid: { parameters: [], result: "i32" }, // pid_t
  // sys/mman.h, unistd.h
  mincore: {
    parameters: [
      "usize", // void *addr: a page's address; nothing is read there
      "usize", // size_t length
      "buffer", // unsigned char *vec: out, a byte a page
    ],
    result: "i32", // 0 when every page is mapped; -1 with errno
  },
  getpagesize: { parameters: [], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** linux/prctl.h: the signal that this process gets when the thread that started it ends. */
const PR_SET_PDEATHSIG = 1;
/** signal.h. */
const SIGKILL = 9n;

/** Checks whether memory can be read without a crash. */
export type IsMapped = (address: bigint, length: number) => boolean;

/**
 * Makes the kernel kill this process when its parent ends, even if either is blocked. Linux sends the signal when the *thread* that
 * started this process ends: Deno starts children from its main thread.
 *
 * @param parentPid id of the process that started this one, as that process reported it
 * @returns false when the parent has already ended: this process should then exit
 * @throws {EnclaveError} `libc` when the C library cannot be opened, or refuses.
 */
export function dieWithParent(parentPid: number, dlopen: Dlopen = Deno.dlopen): boolean {
  const { prctl, getppid } =
    openLibc(PROCESS_SYMBOLS, "end together with the parent process", dlopen).symbols;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n) !== 0) {
    throw new EnclaveError("Cannot end together with the parent process: prctl(PR_SET_PDEATHSIG) failed", {
      code: "libc",
      hint: "A seccomp filter may forbid prctl.",
    });
  }
  // A parent that ended before the call above sends no signal any more.
  return getppid() === parentPid;
}

/**
 * Asks the kernel which addresses are mapped, so that a pointer in an unknown struct is not followed to an unmapped address. The C library stays
 * open until this process ends.
 *
 * @throws {EnclaveError} `libc` when the C library cannot be opened.
 */
export function openMemoryMap(dlopen: Dlopen = Deno.dlopen): IsMapped {
  const { mincore, getpagesize } = openLibc(PROCESS_SYMBOLS, "look which memory is mapped", dlopen).symbols;
  const page = BigInt(getpagesize());
  return (address, length) => {
    const start = address - address % page;
    const span = address + BigInt(length) - start;
    return mincore(start, span, stableBytes(Number(span / page) + 1)) === 0;
  };
}
