/**
 * The few functions of the C library that are needed: Deno denies access to `/dev` and `/sys` unless a program has all permissions (measured
 * with 2.9.6: "Requires all access", whatever `--allow-read` names). So `/dev/nsm` is checked with `access(2)`, and files in `/sys` are read
 * with `open(2)` and `read(2)`.
 *
 * Permission: FFI on one of {@link LIBC_PATHS}.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../lib/shared/errors.ts";
import { stableBytes } from "./layout.ts";
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

/** errno.h, and the memcpy that reads the value at its address. */
export const ERRNO_SYMBOLS = {
  __errno_location: { parameters: [], result: "usize" }, // int *: this thread's
  read_memory: {
    name: "memcpy", // string.h
    parameters: [
      "buffer", // void *dest: out
      "usize", // const void *src: borrowed
      "usize", // size_t n
    ],
    result: "usize", // void *: dest
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** fcntl.h and unistd.h. `open` is variadic in C; without O_CREAT it takes no third argument. */
export const FILE_SYMBOLS = {
  open: {
    parameters: [
      "buffer", // const char *pathname: borrowed
      "i32", // int flags
    ],
    result: "i32", // a descriptor, owned by the caller; -1 with errno
  },
  read: {
    parameters: [
      "i32", // int fd
      "buffer", // void *buf: out
      "usize", // size_t count
    ],
    result: "isize", // bytes, 0 at the end; -1 with errno
  },
  close: { parameters: ["i32"], result: "i32" }, // int fd: consumed, whatever the result
  ...ERRNO_SYMBOLS,
} as const satisfies Deno.ForeignLibraryInterface;

/** sys/prctl.h and unistd.h. `prctl` is variadic in C; its arguments are words. */
export const PROCESS_SYMBOLS = {
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
} as const satisfies Deno.ForeignLibraryInterface;

/** sys/mman.h and unistd.h. */
export const MEMORY_SYMBOLS = {
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

/** sys/random.h. */
export const RANDOM_SYMBOLS = {
  getrandom: {
    parameters: [
      "buffer", // void *buf: out
      "usize", // size_t buflen
      "u32", // unsigned int flags
    ],
    result: "isize", // bytes; -1 with errno
  },
  ...ERRNO_SYMBOLS,
} as const satisfies Deno.ForeignLibraryInterface;

/** linux/prctl.h: the signal that this process gets when the thread that started it ends. */
const PR_SET_PDEATHSIG = 1;
/** signal.h. */
const SIGKILL = 9n;

/** fcntl.h, the same on x86-64 and aarch64. */
export const OPEN_FLAGS = { readOnly: 0, readWrite: 2, nonBlocking: 0o4000, closeOnExec: 0o2000000 } as const;

/** The errno.h numbers that errors here name; they are the same on x86-64 and aarch64. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  EMSGSIZE: 90,
  ETIMEDOUT: 110,
} as const;

const F_OK = 0;
const INT_LENGTH = 4;

/** The name of an error number, or the number itself where no name is listed here. */
export function errnoName(errno: number): string {
  const known = Object.entries(ERRNO).find(([, value]) => value === errno);
  return known?.[0] ?? `errno ${errno}`;
}

/** `errno` of this thread: read it immediately after the call that failed. */
export function lastErrno(symbols: Deno.DynamicLibrary<typeof ERRNO_SYMBOLS>["symbols"]): number {
  const number = stableBytes(INT_LENGTH);
  symbols.read_memory(number, symbols.__errno_location(), BigInt(INT_LENGTH));
  return new DataView(number.buffer).getInt32(0, true);
}

/** A path as C takes it. */
export function cPath(path: string): Uint8Array<ArrayBuffer> {
  if (path.includes("\0")) {
    throw new TypeError(`Cannot use the path ${JSON.stringify(path)}: it holds a zero`);
  }
  return new TextEncoder().encode(`${path}\0`);
}

/** The C library, open. Disposing closes it. */
export interface OpenLibc<S extends Deno.ForeignLibraryInterface> extends Disposable {
  /** The functions that were asked for. */
  readonly symbols: Deno.DynamicLibrary<S>["symbols"];
}

/**
 * Opens the C library at the first of {@link LIBC_PATHS} that has it.
 *
 * @param symbols the functions that are wanted
 * @param purpose for the message, such as `look for /dev/nsm`
 * @throws {EnclaveError} `libc` when it cannot be opened.
 */
export function openLibc<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
  purpose: string,
  dlopen: Dlopen = Deno.dlopen,
): OpenLibc<S> {
  const tried: string[] = [];
  for (const candidate of LIBC_PATHS) {
    try {
      const library = dlopen(candidate, symbols);
      return { symbols: library.symbols, [Symbol.dispose]: () => library.close() };
    } catch (thrown) {
      tried.push(`\n  ${messageOf(thrown)}`);
    }
  }
  throw new EnclaveError(`Cannot ${purpose}: the C library cannot be opened. Tried:${tried.join("")}`, {
    code: "libc",
    hint: "Allow FFI on the C library: --allow-ffi=<its path>.",
  });
}

/** The C library, opened for reading files: it keeps working after the FFI permission is revoked. Disposing closes it. */
export interface SmallFiles extends Disposable {
  /** Whether a path exists, `/dev` and `/sys` included. */
  exists(path: string): boolean;
  /**
   * Reads a whole file, `/dev` and `/sys` included. It never waits: a pipe without a writer is empty, or an error.
   *
   * @param maxBytes a larger file is refused
   * @returns the bytes, or undefined when there is no such file
   * @throws {EnclaveError} `file_unreadable` when the file cannot be read or is larger.
   */
  read(path: string, maxBytes: number): Uint8Array<ArrayBuffer> | undefined;
}

/**
 * Opens the C library for reading files.
 *
 * @param purpose for the message, such as `look for /dev/nsm`
 * @throws {EnclaveError} `libc` when it cannot be opened.
 */
export function openSmallFiles(purpose: string, dlopen: Dlopen = Deno.dlopen): SmallFiles {
  const libc = openLibc({ ...LIBC_SYMBOLS, ...FILE_SYMBOLS }, purpose, dlopen);
  return {
    exists: (path) => libc.symbols.access(cPath(path), F_OK) === 0,
    read: (path, maxBytes) => readWhole(libc.symbols, path, maxBytes),
    [Symbol.dispose]: () => libc[Symbol.dispose](),
  };
}

/**
 * Whether a path exists, `/dev` and `/sys` included.
 *
 * @throws {EnclaveError} `libc` when the C library cannot be opened.
 */
export function pathExists(path: string, dlopen: Dlopen = Deno.dlopen): boolean {
  using files = openSmallFiles(`look for ${path}`, dlopen);
  return files.exists(path);
}

/**
 * Makes the kernel kill this process when its parent ends, even if either is blocked. Linux sends the signal when the *thread* that started this
 * process ends: Deno starts children from its main thread.
 *
 * @param parentPid id of the process that started this one, as that process reported it
 * @returns false when the parent has already ended: this process should then exit
 * @throws {EnclaveError} `libc` when the C library cannot be opened, or refuses.
 */
export function dieWithParent(parentPid: number, dlopen: Dlopen = Deno.dlopen): boolean {
  using libc = openLibc(PROCESS_SYMBOLS, "end together with the parent process", dlopen);
  if (libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n) !== 0) {
    throw new EnclaveError("Cannot end together with the parent process: prctl(PR_SET_PDEATHSIG) failed", {
      code: "libc",
      hint: "A seccomp filter may forbid prctl.",
    });
  }
  // A parent that ended before the call above sends no signal any more.
  return libc.symbols.getppid() === parentPid;
}

/** Checks whether memory can be read without a crash. */
export type IsMapped = (address: bigint, length: number) => boolean;

/** The mapped memory of this process. Disposing closes the C library. */
export interface MemoryMap extends Disposable {
  /** Whether memory may be read without a crash. */
  readonly isMapped: IsMapped;
}

/**
 * Asks the kernel which addresses are mapped (`mincore`), so that a pointer in an unknown struct is not followed to an unmapped address.
 *
 * @throws {EnclaveError} `libc` when the C library cannot be opened.
 */
export function openMemoryMap(dlopen: Dlopen = Deno.dlopen): MemoryMap {
  const libc = openLibc(MEMORY_SYMBOLS, "look which memory is mapped", dlopen);
  const page = BigInt(libc.symbols.getpagesize());
  return {
    isMapped: (address, length) => {
      const start = address - address % page;
      const span = address + BigInt(length) - start;
      return libc.symbols.mincore(start, span, stableBytes(Number(span / page) + 1)) === 0;
    },
    [Symbol.dispose]: () => libc[Symbol.dispose](),
  };
}

/**
 * The kernel's random number generator, which works after the FFI permission is revoked. Disposing closes
 * libc.
 */
export interface KernelRandom extends Disposable {
  /**
   * Overwrites all bytes with random ones (about 1 µs for a nonce).
   *
   * @throws {EnclaveError} `getrandom` when the kernel gives none: the bytes must not be used then.
   */
  readonly fill: (bytes: Uint8Array<ArrayBuffer>) => void;
}

/**
 * Opens the C library for `getrandom(2)`.
 *
 * @throws {EnclaveError} `libc` when it cannot be opened.
 */
export function openKernelRandom(dlopen: Dlopen = Deno.dlopen): KernelRandom {
  const libc = openLibc(RANDOM_SYMBOLS, "read random numbers of the kernel", dlopen);
  return {
    fill: (bytes) => fillFromKernel(libc.symbols, bytes),
    [Symbol.dispose]: () => libc[Symbol.dispose](),
  };
}

/** A signal may interrupt `getrandom(2)`, before any byte or after some. */
function fillFromKernel(
  symbols: Deno.DynamicLibrary<typeof RANDOM_SYMBOLS>["symbols"],
  bytes: Uint8Array<ArrayBuffer>,
): void {
  let filled = 0;
  while (filled < bytes.length) {
    const got = Number(symbols.getrandom(bytes.subarray(filled), BigInt(bytes.length - filled), 0));
    if (got > 0) {
      filled += got;
      continue;
    }
    const errno = got < 0 ? lastErrno(symbols) : undefined;
    if (errno === ERRNO.EINTR) continue;
    throw new EnclaveError(
      `The kernel gave no random numbers: getrandom gave ${
        errno === undefined ? "no byte" : errnoName(errno)
      }`,
      { code: "getrandom", hint: "A seccomp filter may forbid getrandom." },
    );
  }
}

/** @see {@link SmallFiles.read} */
function readWhole(
  symbols: Deno.DynamicLibrary<typeof FILE_SYMBOLS>["symbols"],
  path: string,
  maxBytes: number,
): Uint8Array<ArrayBuffer> | undefined {
  const fd = symbols.open(cPath(path), OPEN_FLAGS.readOnly | OPEN_FLAGS.nonBlocking | OPEN_FLAGS.closeOnExec);
  if (fd < 0) {
    const errno = lastErrno(symbols);
    if (errno === ERRNO.ENOENT || errno === ERRNO.ENOTDIR) return undefined;
    throw unreadable(path, `open gave ${errnoName(errno)}`);
  }
  using stack = new DisposableStack();
  stack.defer(() => symbols.close(fd));
  // Reading one byte more than allowed distinguishes a file of the maximum size from a larger one.
  const buffer = stableBytes(maxBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const got = Number(symbols.read(fd, buffer.subarray(length), BigInt(buffer.length - length)));
    if (got < 0) throw unreadable(path, `read gave ${errnoName(lastErrno(symbols))}`);
    if (got === 0) return buffer.slice(0, length);
    length += got;
  }
  throw unreadable(path, `it has more than ${maxBytes} bytes`);
}

function unreadable(path: string, why: string): EnclaveError {
  return new EnclaveError(`Cannot read ${path}: ${why}`, {
    code: "file_unreadable",
    hint: "Check that it is a small regular file that this user may read.",
  });
}
