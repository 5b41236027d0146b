/**
 * The Nitro Security Module through its driver: a device that takes a request and returns a response, both CBOR, by `ioctl(2)`.
 * `lib/enclave/cli/nsm.ts` encodes and decodes them. Source: aws-nitro-enclaves-nsm-api 0.5.1, src/driver/mod.rs; Linux, include/uapi/linux/nsm.h.
 *
 * Thread: a request blocks the calling thread, usually for milliseconds (Linux's driver times out after two minutes), and `errno` belongs to
 * that thread. Permission: FFI on one of the C library's paths; the device itself is readable only by root.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";
import { readWord, stableBytes, writeWord } from "./layout.ts";
import {
  cPath,
  ERRNO,
  ERRNO_SYMBOLS,
  errnoName,
  FILE_SYMBOLS,
  lastErrno,
  OPEN_FLAGS,
  type OpenLibc,
  openLibc,
} from "./libc.ts";
import type { Dlopen } from "./library.ts";

/** The device, in an enclave. */
export const NSM_DEVICE = "/dev/nsm";
/** Bytes of the largest request. NSM_REQUEST_MAX_SIZE. */
export const NSM_REQUEST_MAX_LENGTH = 0x1000;
/** Bytes of the largest response. NSM_RESPONSE_MAX_SIZE. */
export const NSM_RESPONSE_MAX_LENGTH = 0x3000;

/** `struct nsm_message`: two `struct iovec`. */
export const NSM_MESSAGE = {
  size: 32,
  requestBase: 0, // void *
  requestLength: 8, // size_t
  responseBase: 16, // void *
  responseLength: 24, // size_t: room at first, then what the driver wrote
} as const;

/** `_IOWR(0x0A, 0, struct nsm_message)`: direction 3 (both ways), size 32, type 0x0A, number 0. */
export const NSM_IOCTL_REQUEST = 0xc020_0a00n;

/** fcntl.h, unistd.h, sys/ioctl.h, string.h. */
export const NSM_SYMBOLS = {
  open: FILE_SYMBOLS.open,
  ioctl: {
    parameters: [
      "i32", // int fd
      "usize", // unsigned long request
      "buffer", // struct nsm_message *, the first of `...`: borrowed, its second length is written
    ],
    result: "i32", // 0; -1 with errno
  },
  close: FILE_SYMBOLS.close,
  address_of: {
    name: "memmove",
    parameters: [
      "buffer", // void *dest: the buffer whose address is wanted
      "buffer", // const void *src: the same
      "usize", // size_t n: 0
    ],
    result: "usize", // void *: dest
  },
  ...ERRNO_SYMBOLS,
} as const satisfies Deno.ForeignLibraryInterface;

/** What an {@link NsmDeviceError} is made from, beside its message. */
export interface NsmDeviceErrorOptions {
  /** The call that failed. */
  readonly symbol: "open" | "ioctl";
  /** Its `errno`; undefined where the call itself succeeded. */
  readonly errno?: number | undefined;
  /** What a person can do about it. */
  readonly hint: string;
}

/** The device could not be opened, or did not answer as a device of its kind. */
export class NsmDeviceError extends EnclaveError {
  override name = "NsmDeviceError";
  /** The call that failed. */
  readonly symbol: "open" | "ioctl";
  /** Its `errno`; undefined where the call itself succeeded. */
  readonly errno: number | undefined;

  /**
   * Describes one failed call.
   *
   * @param message says which call failed, on which device
   */
  constructor(message: string, options: NsmDeviceErrorOptions) {
    super(message, { code: options.symbol === "open" ? "nsm_open" : "nsm_ioctl", hint: options.hint });
    this.symbol = options.symbol;
    this.errno = options.errno;
  }
}

function openHint(errno: number): string {
  switch (errno) {
    case ERRNO.ENOENT:
    case ERRNO.ENXIO:
    case ERRNO.ENODEV:
      return "The device exists only in Nitro Enclaves: run there, with a kernel that has the nsm driver loaded before this program starts.";
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return "Run as root, or give this user the device.";
    default:
      return "Look for other users of the device, and at the kernel's log.";
  }
}

function ioctlHint(errno: number): string {
  switch (errno) {
    case ERRNO.ENOTTY:
    case ERRNO.EINVAL:
      return "This file is not the NSM's device, or its driver speaks another version of the interface.";
    case ERRNO.EMSGSIZE:
      return "The request is larger than the driver takes: send less user data.";
    case ERRNO.ETIMEDOUT:
      return "The hypervisor did not answer: try again, and restart the enclave if that goes on.";
    default:
      return "Try again; if it goes on, look at the kernel's log and restart the enclave.";
  }
}

/** Options of {@link NsmDevice.open}. */
export interface NsmDeviceOptions {
  /** {@link NSM_DEVICE}, or another for tests. */
  readonly path?: string | undefined;
  /** `Deno.dlopen`, or a mock. */
  readonly dlopen?: Dlopen | undefined;
}

/** The device, open. Disposing closes it, once. */
export class NsmDevice implements Disposable {
  /** The path that was opened. */
  readonly path: string;
  #libc: OpenLibc<typeof NSM_SYMBOLS>;
  #life: DisposableStack;
  #fd: number;
  // This object must keep all three alive, since the message holds the addresses of the other two.
  #request = stableBytes(NSM_REQUEST_MAX_LENGTH);
  #response = stableBytes(NSM_RESPONSE_MAX_LENGTH);
  #message = stableBytes(NSM_MESSAGE.size);

  private constructor(path: string, libc: OpenLibc<typeof NSM_SYMBOLS>, fd: number, life: DisposableStack) {
    this.path = path;
    this.#libc = libc;
    this.#fd = fd;
    this.#life = life;
    const address = (bytes: Uint8Array<ArrayBuffer>) => libc.symbols.address_of(bytes, bytes, 0n);
    writeWord(this.#message, NSM_MESSAGE.requestBase, address(this.#request));
    writeWord(this.#message, NSM_MESSAGE.responseBase, address(this.#response));
  }

  /**
   * Opens the device, for reading and writing.
   *
   * @throws {NsmDeviceError} `nsm_open` when it cannot be opened.
   * @throws {EnclaveError} `libc` when the C library cannot be opened.
   */
  static open({ path = NSM_DEVICE, dlopen = Deno.dlopen }: NsmDeviceOptions = {}): NsmDevice {
    using life = new DisposableStack();
    const libc = life.use(openLibc(NSM_SYMBOLS, `open ${path}`, dlopen));
    const fd = libc.symbols.open(cPath(path), OPEN_FLAGS.readWrite | OPEN_FLAGS.closeOnExec);
    if (fd < 0) {
      const errno = lastErrno(libc.symbols);
      throw new NsmDeviceError(`Cannot open ${path}: open gave ${errnoName(errno)}`, {
        symbol: "open",
        errno,
        hint: openHint(errno),
      });
    }
    life.defer(() => libc.symbols.close(fd));
    return new NsmDevice(path, libc, fd, life.move());
  }

  /**
   * One request, and the response to it. Blocks this thread.
   *
   * @param bytes CBOR, 1 to {@link NSM_REQUEST_MAX_LENGTH} bytes
   * @returns CBOR, at most {@link NSM_RESPONSE_MAX_LENGTH} bytes, a copy
   * @throws {RangeError} on another length.
   * @throws {TypeError} after the device was closed.
   * @throws {NsmDeviceError} `nsm_ioctl` when the driver refused, or reported a longer response than there is room for.
   */
  request(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    if (this.#life.disposed) throw new TypeError(`Cannot use ${this.path}: it was closed`);
    if (bytes.length < 1 || bytes.length > NSM_REQUEST_MAX_LENGTH) {
      throw new RangeError(
        `Cannot send ${bytes.length} bytes to ${this.path}: a request has 1 to ${NSM_REQUEST_MAX_LENGTH}`,
      );
    }
    this.#request.set(bytes);
    writeWord(this.#message, NSM_MESSAGE.requestLength, BigInt(bytes.length));
    writeWord(this.#message, NSM_MESSAGE.responseLength, BigInt(NSM_RESPONSE_MAX_LENGTH));
    try {
      const result = this.#libc.symbols.ioctl(this.#fd, NSM_IOCTL_REQUEST, this.#message);
      if (result !== 0) {
        const errno = lastErrno(this.#libc.symbols);
        throw new NsmDeviceError(
          `Cannot ask ${this.path}: ioctl gave ${errnoName(errno)} for a request of ${bytes.length} bytes`,
          { symbol: "ioctl", errno, hint: ioctlHint(errno) },
        );
      }
      const length = readWord(this.#message, NSM_MESSAGE.responseLength);
      if (length > BigInt(NSM_RESPONSE_MAX_LENGTH)) {
        throw new NsmDeviceError(
          `Cannot use the answer of ${this.path}: it speaks of ${length} bytes where there is room for ${NSM_RESPONSE_MAX_LENGTH}`,
          {
            symbol: "ioctl",
            hint: "This is not the driver that this program knows: check the enclave's kernel.",
          },
        );
      }
      return this.#response.slice(0, Number(length));
    } finally {
      // The buffer may hold random bytes from the module.
      this.#request.fill(0);
      this.#response.fill(0);
    }
  }

  /** Closes the device. */
  [Symbol.dispose](): void {
    this.#life.dispose();
  }
}
