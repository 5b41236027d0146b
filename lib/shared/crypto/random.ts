/**
 * The enclave's only source of random numbers; a lint rule keeps all others out of its code.
 *
 * The runtime's generator (`crypto.getRandomValues`) takes 32 bytes from the kernel when it is first used.
 * noble uses it when it is imported: before the NSM has seeded the kernel. So nothing is made of its numbers
 * alone.
 *
 * @module
 */
import { hkdfSync } from "node:crypto";
import { EnclaveError } from "../errors.ts";
import { SecretBytes } from "./secret_bytes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Overwrites all bytes with random ones. If it throws, the bytes must not be used. */
export type FillRandom = (bytes: Bytes) => void;

/** Where random numbers come from. */
export interface RandomSources {
  /** `getrandom(2)`; undefined for programs on a host, which use the runtime's generator. */
  readonly kernel: FillRandom | undefined;
  /** The NSM's GetRandom; undefined outside an enclave. */
  readonly nsm: { random(): Promise<Bytes> } | undefined;
  /** The runtime's generator. For tests. */
  readonly runtime?: FillRandom;
}

/** Bytes from each source for a secret: with one good source, it is as strong as an AES-256 key. */
const SOURCE_LENGTH = 32;

/** Kept, since {@link replaceGlobalGenerator} puts another one in its place. */
const runtimeGenerator: FillRandom = crypto.getRandomValues.bind(crypto);

/** Random numbers: fast ones for nonces and ids, and secrets that depend on every source. */
export class Random {
  /** For nonces and ids: from the kernel. */
  readonly fill: FillRandom;
  /** What secrets are made of, as `health` shows it. */
  readonly sources: string;
  #runtime: FillRandom;
  #nsm: RandomSources["nsm"];

  constructor({ kernel, nsm, runtime = runtimeGenerator }: RandomSources) {
    this.fill = kernel ?? runtime;
    this.sources = [nsm ? "NSM" : "no NSM", ...(kernel ? ["kernel"] : []), "runtime"].join(", ");
    this.#runtime = runtime;
    this.#nsm = nsm;
  }

  /** For nonces and ids: from the kernel. */
  bytes(length: number): Bytes {
    const bytes = new Uint8Array(length);
    this.fill(bytes);
    return bytes;
  }

  /**
   * A key, or the seed of one: HKDF-SHA-256 over NSM ‖ kernel ‖ runtime, drawn now. Knowing all sources but
   * one does not help to guess it.
   *
   * @param purpose secrets for different purposes are independent, even if all sources repeat themselves
   * @returns the caller's to dispose
   * @throws {EnclaveError} when a source fails
   */
  async secret(purpose: string, length: number): Promise<SecretBytes> {
    using fromNsm = new SecretBytes(await this.#nsm?.random() ?? new Uint8Array(0));
    if (this.#nsm !== undefined && fromNsm.length < SOURCE_LENGTH) {
      throw new EnclaveError(`The NSM gave ${fromNsm.length} random bytes, not ${SOURCE_LENGTH} or more`, {
        code: "nsm_random",
        hint: "Try again; if it goes on, restart the enclave.",
      });
    }
    using input = new SecretBytes(new Uint8Array(fromNsm.length + 2 * SOURCE_LENGTH));
    const bytes = input.expose();
    bytes.set(fromNsm.expose());
    this.fill(bytes.subarray(fromNsm.length, fromNsm.length + SOURCE_LENGTH));
    this.#runtime(bytes.subarray(fromNsm.length + SOURCE_LENGTH));
    const info = `denclave/random/${purpose}`;
    return new SecretBytes(new Uint8Array(hkdfSync("sha256", bytes, new Uint8Array(0), info, length)));
  }
}

/**
 * Has `crypto.getRandomValues` and `crypto.randomUUID` draw from the kernel, for code that draws its own
 * numbers: noble, which blinds its scalars, and workflows.
 *
 * @param fill of {@link Random}
 */
export function replaceGlobalGenerator(fill: FillRandom): void {
  const getRandomValues = (array: Uint8Array<ArrayBuffer>) => {
    // It checks the type and the length, as outside the enclave.
    runtimeGenerator(array);
    fill(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    return array;
  };
  const randomUUID = () => {
    const bytes = new Uint8Array(16);
    fill(bytes);
    const view = new DataView(bytes.buffer);
    // Version 4 and variant: RFC 9562, section 5.4.
    view.setUint8(6, view.getUint8(6) & 0x0f | 0x40);
    view.setUint8(8, view.getUint8(8) & 0x3f | 0x80);
    return bytes.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
  Object.assign(crypto, { getRandomValues, randomUUID });
}
