/**
 * What this program needs of the kernel through the C library: small files, random numbers, the NSM's device,
 * the wall around a child, which memory is mapped. Deno denies access to `/dev` and `/sys` unless a program has
 * all permissions (measured with 2.9.6: "Requires all access", whatever `--allow-read` names).
 *
 * Permission: FFI on one of `LIBC_PATHS`, while it is opened.
 *
 * @module
 */
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { EnclaveError } from "../lib/shared/errors.ts";
import { stableBytes } from "./layout.ts";
import { openLibc } from "./libc.ts";
import type { Dlopen } from "./library.ts";

const PATH = "buffer"; // const char *pathname: borrowed
const OUT = "buffer"; // void *: out
const ADDRESS = "usize"; // void *: borrowed

/**
 * `open` and `ioctl` are variadic in C; without O_CREAT, `open` takes no third argument. Where nothing
 * else is said, a result of -1 comes with errno.
 */
export const KERNEL_SYMBOLS = {
  // unistd.h, fcntl.h, sys/ioctl.h
  access: { parameters: [PATH, "i32"], result: "i32" }, // int mode, 0 for F_OK -> 0 when it is there
  open: { parameters: [PATH, "i32"], result: "i32" }, // int flags -> a descriptor, owned by the caller
  // int fd, buf, size_t count -> bytes, 0 at the end
  read: { parameters: ["i32", OUT, "usize"], result: "isize" },
  // int fd, unsigned long request, struct nsm_message *: borrowed, its second length is written -> 0
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" }, // int fd: consumed, whatever the result
  // sys/prctl.h: int option, unsigned long arg2 to arg5
  prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
  getppid: { parameters: [], result: "i32" }, // pid_t
  // int fd, const void *buf: borrowed, size_t count -> bytes
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  // sys/resource.h
  // int which, id_t who: 0 for this process, int prio
  setpriority: { parameters: ["i32", "u32", "i32"], result: "i32" },
  // int resource, const struct rlimit *: borrowed
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  // grp.h, unistd.h
  // size_t size, const gid_t *list: NULL for none
  setgroups: { parameters: ["usize", "usize"], result: "i32" },
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" }, // gid_t rgid, egid, sgid
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" }, // uid_t ruid, euid, suid
  // sys/mman.h, unistd.h
  // void *addr: a page's address, where nothing is read; size_t length; unsigned char *vec: out, a byte a
  // page -> 0 when every page is mapped
  mincore: { parameters: ["usize", "usize", OUT], result: "i32" },
  getpagesize: { parameters: [], result: "i32" },
  // sys/random.h
  // buf, size_t buflen, unsigned int flags -> bytes
  getrandom: { parameters: [OUT, "usize", "u32"], result: "isize" },
  // errno.h, string.h
  __errno_location: { parameters: [], result: ADDRESS }, // int *: this thread's
  // dest, src, size_t n -> dest
  read_memory: { name: "memcpy", parameters: [OUT, ADDRESS, "usize"], result: ADDRESS },
  // The buffer whose address is wanted, twice, and 0 bytes: the result is the address.
  address_of: { name: "memmove", parameters: ["buffer", "buffer", "usize"], result: ADDRESS },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of {@link KERNEL_SYMBOLS}. */
export type KernelSymbols = Deno.DynamicLibrary<typeof KERNEL_SYMBOLS>["symbols"];

const { EINTR, ENOENT, ENOTDIR } = constants.errno;

/** fcntl.h, the same on x86-64 and aarch64. */
export const OPEN_FLAGS = { readOnly: 0, readWrite: 2, nonBlocking: 0o4000, closeOnExec: 0o2000000 } as const;

/** The name of an error number, or the number itself where it has none. */
export function errnoName(errno: number): string {
  return getSystemErrorName(-errno) ?? `errno ${errno}`;
}

/** A path of this program, without a zero, as C takes it. */
export function cPath(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${path}\0`);
}

/** The C library, open: it keeps working after the FFI permission is revoked. Disposing closes it. */
export class Kernel implements Disposable {
  /** The functions themselves. */
  readonly symbols: KernelSymbols;
  /** What opened the C library. */
  readonly dlopen: Dlopen;
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
    this.dlopen = dlopen;
    this.#close = () => library.close();
  }

  /** `errno` of this thread: to be read immediately after the call that failed. */
  errno(): number {
    const number = stableBytes(4); // int
    this.symbols.read_memory(number, this.symbols.__errno_location(), BigInt(number.length));
    return new DataView(number.buffer).getInt32(0, true);
  }

  /** Whether a path exists, `/dev` and `/sys` included. */
  exists(path: string): boolean {
    return this.symbols.access(cPath(path), 0) === 0;
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
      if (errno === ENOENT || errno === ENOTDIR) return undefined;
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
      if (errno === EINTR) continue;
      const gave = errno === undefined ? "no byte" : errnoName(errno);
      throw new EnclaveError(`The kernel gave no random numbers: getrandom gave ${gave}`, {
        code: "getrandom",
        hint: "A seccomp filter may forbid getrandom.",
      });
    }
  }

  /** Whether memory can be read without a crash: all of its pages are mapped. */
  isMapped(address: bigint, length: number): boolean {
    const page = BigInt(this.symbols.getpagesize());
    const start = address - address % page;
    const span = address + BigInt(length) - start;
    return this.symbols.mincore(start, span, stableBytes(Number(span / page) + 1)) === 0;
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
