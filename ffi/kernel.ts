/**
 * What the main process needs of the kernel through the C library: small files, random numbers, the NSM's device. Deno denies access to `/dev` and
 * `/sys` unless a program has all permissions (measured with 2.9.6: "Requires all access", whatever `--allow-read` names).
 *
 * Permission: FFI on one of `LIBC_PATHS`, while it is opened.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";
import { stableBytes } from "./layout.ts";
import { openLibc } from "./libc.ts";
import type { Dlopen } from "./library.ts";

/** `open` and `ioctl` are variadic in C; without O_CREAT, `open` takes no third argument. */
export const KERNEL_SYMBOLS = {
  // unistd.h, fcntl.h, sys/ioctl.h
  access: {
    parameters: [
      "buffer", // const char *pathname: borrowed
      "i32", // int mode
    ],
    result: "i32", // 0 when it is there
  },
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
  ioctl: {
    parameters: [
      "i32", // int fd
      "usize", // unsigned long request
      "buffer", // struct nsm_message *, the first of `...`: borrowed, its second length is written
    ],
    result: "i32", // 0; -1 with errno
  },
  close: { parameters: ["i32"], result: "i32" }, // int fd: consumed, whatever the result
  // sys/random.h
  getrandom: {
    parameters: [
      "buffer", // void *buf: out
      "usize", // size_t buflen
      "u32", // unsigned int flags
    ],
    result: "isize", // bytes; -1 with errno
  },
  // errno.h, string.h
  __errno_location: { parameters: [], result: "usize" }, // int *: this thread's
  read_memory: {
    name: "memcpy",
    parameters: [
      "buffer", // void *dest: out
      "usize", // const void *src: borrowed
      "usize", // size_t n
    ],
    result: "usize", // void *: dest
  },
  address_of: {
    name: "memmove",
    parameters: [
      "buffer", // void *dest: the buffer whose address is wanted
      "buffer", // const void *src: the same
      "usize", // size_t n: 0
    ],
    result: "usize", // void *: dest
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of {@link KERNEL_SYMBOLS}. */
export type KernelSymbols = Deno.DynamicLibrary<typeof KERNEL_SYMBOLS>["symbols"];

const F_OK = 0;
const INT_LENGTH = 4;

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

/** The name of an error number, or the number itself where no name is listed here. */
export function errnoName(errno: number): string {
  const known = Object.entries(ERRNO).find(([, value]) => value === errno);
  return known?.[0] ?? `errno ${errno}`;
}

/** A path as C takes it. */
export function cPath(path: string): Uint8Array<ArrayBuffer> {
  if (path.includes("\0")) {
    throw new TypeError(`Cannot use the path ${JSON.stringify(path)}: it holds a zero`);
  }
  return new TextEncoder().encode(`${path}\0`);
}

/** The C library, open: it keeps working after the FFI permission is revoked. Disposing closes it. */
export class Kernel implements Disposable {
  /** The functions themselves. */
  readonly symbols: KernelSymbols;
  #close: () => void;

  /**
   * Opens the C library.
   *
   * @param purpose for the message, such as `look for /dev/nsm`
   * @throws {EnclaveError} `libc` when it cannot be opened.
   */
  constructor(purpose: string, dlopen: Dlopen = Deno.dlopen) {
    const library = openLibc(KERNEL_SYMBOLS, purpose, dlopen);
    this.symbols = library.symbols;
    this.#close = () => library.close();
  }

  /** `errno` of this thread: to be read immediately after the call that failed. */
  errno(): number {
    const number = stableBytes(INT_LENGTH);
    this.symbols.read_memory(number, this.symbols.__errno_location(), BigInt(INT_LENGTH));
    return new DataView(number.buffer).getInt32(0, true);
  }

  /** Whether a path exists, `/dev` and `/sys` included. */
  exists(path: string): boolean {
    return this.symbols.access(cPath(path), F_OK) === 0;
  }

  /**
   * Reads a whole file, `/dev` and `/sys` included. It never waits: a pipe without a writer is empty, or an error.
   *
   * @param maxBytes a larger file is refused
   * @returns the bytes, or undefined when there is no such file
   * @throws {EnclaveError} `file_unreadable` when the file cannot be read or is larger.
   */
  readFile(path: string, maxBytes: number): Uint8Array<ArrayBuffer> | undefined {
    const { open, read, close } = this.symbols;
    const fd = open(cPath(path), OPEN_FLAGS.readOnly | OPEN_FLAGS.nonBlocking | OPEN_FLAGS.closeOnExec);
    if (fd < 0) {
      const errno = this.errno();
      if (errno === ERRNO.ENOENT || errno === ERRNO.ENOTDIR) return undefined;
      throw unreadable(path, `open gave ${errnoName(errno)}`);
    }
    using stack = new DisposableStack();
    stack.defer(() => close(fd));
    // Reading one byte more than allowed distinguishes a file of the maximum size from a larger one.
    const buffer = stableBytes(maxBytes + 1);
    let length = 0;
    while (length < buffer.length) {
      const got = Number(read(fd, buffer.subarray(length), BigInt(buffer.length - length)));
      if (got < 0) throw unreadable(path, `read gave ${errnoName(this.errno())}`);
      if (got === 0) return buffer.slice(0, length);
      length += got;
    }
    throw unreadable(path, `it has more than ${maxBytes} bytes`);
  }

  /**
   * Overwrites all bytes with random ones of the kernel (about 1 µs for a nonce). A signal may interrupt `getrandom(2)`, before any byte or
   * after some.
   *
   * @throws {EnclaveError} `getrandom` when the kernel gives none: the bytes must not be used then.
   */
  fillRandom(bytes: Uint8Array<ArrayBuffer>): void {
    let filled = 0;
    while (filled < bytes.length) {
      const got = Number(this.symbols.getrandom(bytes.subarray(filled), BigInt(bytes.length - filled), 0));
      if (got > 0) {
        filled += got;
        continue;
      }
      const errno = got < 0 ? this.errno() : undefined;
      if (errno === ERRNO.EINTR) continue;
      const gave = errno === undefined ? "no byte" : errnoName(errno);
      throw new EnclaveError(`The kernel gave no random numbers: getrandom gave ${gave}`, {
        code: "getrandom",
        hint: "A seccomp filter may forbid getrandom.",
      });
    }
  }

  /** Closes the library. */
  [Symbol.dispose](): void {
    this.#close();
  }
}

function unreadable(path: string, why: string): EnclaveError {
  return new EnclaveError(`Cannot read ${path}: ${why}`, {
    code: "file_unreadable",
    hint: "Check that it is a small regular file that this user may read.",
  });
}
