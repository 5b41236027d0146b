/**
 * The little that is needed of the C library: Deno refuses `/dev` and `/sys` to any program without all permissions (measured with 2.9.6:
 * "Requires all access", whatever `--allow-read` names), so that a look at `/dev/nsm` goes through `access(2)`.
 *
 * Permission: FFI on one of {@link LIBC_PATHS}.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../lib/errors.ts";
import type { Dlopen } from "./library.ts";

/** Where the C library is, by distribution and machine. */
export const LIBC_PATHS: readonly string[] = [
  "/lib64/libc.so.6",
  "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib/aarch64-linux-gnu/libc.so.6",
  "/usr/lib/libc.so.6",
];

/** unistd.h. */
export const LIBC_SYMBOLS = {
  access: {
    parameters: [
      "buffer", // const char *pathname: borrowed
      "i32", // int mode
    ],
    result: "i32", // 0 when it is there
  },
} as const satisfies Deno.ForeignLibraryInterface;

const F_OK = 0;

/**
 * Whether a path exists, `/dev` and `/sys` included.
 *
 * @throws {EnclaveError} `libc` when the C library cannot be opened.
 */
export function pathExists(path: string, dlopen: Dlopen = Deno.dlopen): boolean {
  const tried: string[] = [];
  for (const candidate of LIBC_PATHS) {
    try {
      const libc = dlopen(candidate, LIBC_SYMBOLS);
      try {
        return libc.symbols.access(new TextEncoder().encode(`${path}\0`), F_OK) === 0;
      } finally {
        libc.close();
      }
    } catch (thrown) {
      tried.push(`\n  ${messageOf(thrown)}`);
    }
  }
  throw new EnclaveError(`Cannot look for ${path}: the C library cannot be opened. Tried:${tried.join("")}`, {
    code: "libc",
    hint: "Allow FFI on the C library: --allow-ffi=<its path>.",
  });
}
