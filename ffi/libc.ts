/**
 * Opens the C library.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../lib/shared/errors.ts";
import type { Dlopen } from "./library.ts";

/** Where the C library is, by distribution and machine. */
export const LIBC_PATHS: readonly string[] = [
  "/lib64/libc.so.6",
  "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib/aarch64-linux-gnu/libc.so.6",
  "/usr/lib/libc.so.6",
];

/**
 * Opens the C library at the first of {@link LIBC_PATHS} that has it. Its functions keep working after the FFI permission is revoked.
 *
 * @param symbols the functions that are wanted
 * @param purpose for the message, such as `look for /dev/nsm`
 * @throws {EnclaveError} `libc` when it cannot be opened.
 */
export function openLibc<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
  purpose: string,
  dlopen: Dlopen,
): Deno.DynamicLibrary<S> {
  const tried: string[] = [];
  for (const candidate of LIBC_PATHS) {
    try {
      return dlopen(candidate, symbols);
    } catch (thrown) {
      tried.push(`\n  ${messageOf(thrown)}`);
    }
  }
  throw new EnclaveError(`Cannot ${purpose}: the C library cannot be opened. Tried:${tried.join("")}`, {
    code: "libc",
    hint: "Allow FFI on the C library: --allow-ffi=<its path>.",
  });
}
