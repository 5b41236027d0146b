/**
 * What an SDK process needs of the kernel: to know which memory is mapped.
 *
 * Permission: FFI on one of `LIBC_PATHS`.
 *
 * @module
 */
import { stableBytes } from "./layout.ts";
import { openLibc } from "./libc.ts";
import type { Dlopen } from "./library.ts";

/** sys/mman.h, unistd.h. */
const PROCESS_SYMBOLS = {
  // void *addr: a page's address, where nothing is read; size_t length; unsigned char *vec: out, a byte a
  // page -> 0 when every page is mapped
  mincore: { parameters: ["usize", "usize", "buffer"], result: "i32" },
  getpagesize: { parameters: [], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Checks whether memory can be read without a crash. */
export type IsMapped = (address: bigint, length: number) => boolean;

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
