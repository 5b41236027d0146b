/**
 * A mock of `Deno.dlopen` for the C library's part in `/dev/nsm`, typed by the table: a changed table breaks it at type check. C memory is a map
 * from addresses to bytes.
 *
 * @module
 */
import type { Dlopen } from "../../ffi/library.ts";
import { readWord, writeWord } from "../../ffi/layout.ts";
import { Kernel, type KernelSymbols } from "../../ffi/kernel.ts";
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { NSM_IOCTL_REQUEST, NSM_MESSAGE } from "../../ffi/nsm.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type NsmSymbols = Pick<
  KernelSymbols,
  "open" | "ioctl" | "close" | "__errno_location" | "read_memory" | "address_of"
>;

const ERRNO_ADDRESS = 0x1000n;
const EBADF = 9;
const ENOTTY = 25;
const FD = 7;

/** What the mocked driver does with a request. */
export type Answer = (request: Bytes) => { readonly response: Bytes } | { readonly errno: number } | {
  readonly claimedLength: bigint;
};

function bytesOf(source: unknown): Bytes {
  if (!(source instanceof Uint8Array)) throw new TypeError("the mock takes Uint8Arrays");
  return source as Bytes;
}

/** The mock and what it saw. */
export class MockNsm {
  /** Descriptors that are open. */
  open = 0;
  /** Libraries that are open. */
  libraries = 0;
  /** Paths and flags that were opened. */
  readonly opened: (readonly [string, number])[] = [];
  /** Room for the response, as each request had it. */
  readonly rooms: bigint[] = [];
  /** Buffers whose addresses were asked for. */
  readonly buffers = new Map<bigint, Bytes>();
  #answer: Answer;
  #openErrno: number | undefined;
  #errno = 0;
  #nextAddress = 0x10_0000n;

  constructor(answer: Answer, openErrno?: number) {
    this.#answer = answer;
    this.#openErrno = openErrno;
  }

  #fail(errno: number): -1 {
    this.#errno = errno;
    return -1;
  }

  #symbols: NsmSymbols = {
    open: (path, flags) => {
      this.opened.push([new TextDecoder().decode(bytesOf(path)), flags]);
      if (this.#openErrno !== undefined) return this.#fail(this.#openErrno);
      this.open++;
      return FD;
    },
    close: (fd) => {
      if (fd !== FD || this.open === 0) return this.#fail(EBADF);
      this.open--;
      return 0;
    },
    ioctl: (fd, code, message) => {
      if (fd !== FD || this.open === 0) return this.#fail(EBADF);
      if (code !== NSM_IOCTL_REQUEST) return this.#fail(ENOTTY);
      const struct = bytesOf(message);
      const memory = (base: number) => this.buffers.get(readWord(struct, base)) ?? new Uint8Array(0);
      const length = Number(readWord(struct, NSM_MESSAGE.requestLength));
      this.rooms.push(readWord(struct, NSM_MESSAGE.responseLength));
      const answer = this.#answer(memory(NSM_MESSAGE.requestBase).slice(0, length));
      if ("errno" in answer) return this.#fail(answer.errno);
      const claimed = "claimedLength" in answer ? answer.claimedLength : BigInt(answer.response.length);
      if ("response" in answer) memory(NSM_MESSAGE.responseBase).set(answer.response);
      writeWord(struct, NSM_MESSAGE.responseLength, claimed);
      return 0;
    },
    address_of: (buffer) => {
      const address = this.#nextAddress += 0x1_0000n;
      this.buffers.set(address, bytesOf(buffer));
      return address;
    },
    __errno_location: () => ERRNO_ADDRESS,
    read_memory: (target, source, length) => {
      if (source !== ERRNO_ADDRESS || length !== 4n) {
        throw new TypeError("the mock has errno to read, no more");
      }
      const into = bytesOf(target);
      new DataView(into.buffer, into.byteOffset).setInt32(0, this.#errno, true);
      return 0n;
    },
  };

  /** The kernel with the mocked device. */
  get kernel(): Kernel {
    return new Kernel("mock the NSM", this.dlopen);
  }

  /** To be passed for `Deno.dlopen`. */
  readonly dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>(path: string) => {
    if (!LIBC_PATHS.includes(path)) throw new TypeError(`the mock has no ${path}`);
    this.libraries++;
    const library = { symbols: this.#symbols, close: () => void this.libraries-- };
    return library as unknown as Deno.DynamicLibrary<S>;
  };
}
