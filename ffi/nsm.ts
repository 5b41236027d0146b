/**
 * The Nitro Security Module through its driver: a device that takes a request and returns a response, both CBOR, by `ioctl(2)`.
 * `lib/enclave/cli/nsm.ts` encodes and decodes them. Source: aws-nitro-enclaves-nsm-api 0.5.1, src/driver/mod.rs; Linux, include/uapi/linux/nsm.h.
 *
 * Thread: a request blocks the calling thread, usually for milliseconds (Linux's driver times out after two minutes), and `errno` belongs to
 * that thread. Permission: FFI on one of the C library's paths; the device itself is readable only by root.
 *
 * @module
 */
import { constants } from "node:os";
import { EnclaveError } from "../lib/shared/errors.ts";
import { cPath, errnoName, type Kernel, OPEN_FLAGS } from "./kernel.ts";
import { readWord, stableBytes, writeWord } from "./layout.ts";

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

/**
 * The NSM failed: `nsm_open`, `nsm_ioctl`; the module refused (`nsm_refused`), or its answer is invalid
 * (`nsm_answer`).
 */
export class NsmError extends EnclaveError {
  override name = "NsmError";
}

const NO_DEVICE =
  "The device exists only in Nitro Enclaves: run there, with a kernel that has the nsm driver loaded before this program starts.";
const NOT_ALLOWED = "Run as root, or give this user the device.";
const NOT_THE_NSM =
  "This file is not the NSM's device, or its driver speaks another version of the interface.";

/** What to do, by errno. */
const { errno: ERRNO } = constants;
const HINTS = new Map<number, string>([
  [ERRNO.ENOENT, NO_DEVICE],
  [ERRNO.ENXIO, NO_DEVICE],
  [ERRNO.ENODEV, NO_DEVICE],
  [ERRNO.EACCES, NOT_ALLOWED],
  [ERRNO.EPERM, NOT_ALLOWED],
  [ERRNO.ENOTTY, NOT_THE_NSM],
  [ERRNO.EINVAL, NOT_THE_NSM],
  [ERRNO.EMSGSIZE, "The request is larger than the driver takes: send less user data."],
  [ERRNO.ETIMEDOUT, "The hypervisor did not answer: try again, and restart the enclave if that goes on."],
]);
const OTHERWISE = "Try again; if it goes on, look for other users of the device and at the kernel's log.";

/** The device, open. Disposing closes it, once. */
export class NsmDevice implements Disposable {
  #path: string;
  #kernel: Kernel;
  #life = new DisposableStack();
  #fd: number;
  // This object must keep all three alive, since the message holds the addresses of the other two.
  #request = stableBytes(NSM_REQUEST_MAX_LENGTH);
  #response = stableBytes(NSM_RESPONSE_MAX_LENGTH);
  #message = stableBytes(NSM_MESSAGE.size);

  /**
   * Opens the device, for reading and writing.
   *
   * @param kernel borrowed: it must stay open as long as the device
   * @throws {NsmError} `nsm_open` when it cannot be opened.
   */
  constructor(kernel: Kernel, path: string = NSM_DEVICE) {
    const { open, close, address_of } = kernel.symbols;
    this.#path = path;
    this.#kernel = kernel;
    this.#fd = open(cPath(path), OPEN_FLAGS.readWrite | OPEN_FLAGS.closeOnExec);
    if (this.#fd < 0) {
      const errno = kernel.errno();
      throw new NsmError(`Cannot open ${path}: open gave ${errnoName(errno)}`, {
        code: "nsm_open",
        hint: HINTS.get(errno) ?? OTHERWISE,
      });
    }
    this.#life.defer(() => close(this.#fd));
    writeWord(this.#message, NSM_MESSAGE.requestBase, address_of(this.#request, this.#request, 0n));
    writeWord(this.#message, NSM_MESSAGE.responseBase, address_of(this.#response, this.#response, 0n));
  }

  /**
   * One request, and the response to it. Blocks this thread.
   *
   * @param bytes CBOR, 1 to {@link NSM_REQUEST_MAX_LENGTH} bytes
   * @returns CBOR, at most {@link NSM_RESPONSE_MAX_LENGTH} bytes, a copy
   * @throws {RangeError} on another length.
   * @throws {TypeError} after the device was closed.
   * @throws {NsmError} `nsm_ioctl` when the driver refused, or reported a longer response than there is room for.
   */
  request(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    if (this.#life.disposed) throw new TypeError(`Cannot use ${this.#path}: it was closed`);
    if (bytes.length < 1 || bytes.length > NSM_REQUEST_MAX_LENGTH) {
      const limits = `a request has 1 to ${NSM_REQUEST_MAX_LENGTH}`;
      throw new RangeError(`Cannot send ${bytes.length} bytes to ${this.#path}: ${limits}`);
    }
    this.#request.set(bytes);
    writeWord(this.#message, NSM_MESSAGE.requestLength, BigInt(bytes.length));
    writeWord(this.#message, NSM_MESSAGE.responseLength, BigInt(NSM_RESPONSE_MAX_LENGTH));
    const failed = (what: string, hint: string) => new NsmError(what, { code: "nsm_ioctl", hint });
    try {
      if (this.#kernel.symbols.ioctl(this.#fd, NSM_IOCTL_REQUEST, this.#message) !== 0) {
        const errno = this.#kernel.errno();
        throw failed(
          `Cannot ask ${this.#path}: ioctl gave ${errnoName(errno)} for a request of ${bytes.length} bytes`,
          HINTS.get(errno) ?? OTHERWISE,
        );
      }
      const length = readWord(this.#message, NSM_MESSAGE.responseLength);
      if (length > BigInt(NSM_RESPONSE_MAX_LENGTH)) {
        throw failed(
          `Cannot use the answer of ${this.#path}: it speaks of ${length} bytes where there is room for ${NSM_RESPONSE_MAX_LENGTH}`,
          "This is not the driver that this program knows: check the enclave's kernel.",
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
