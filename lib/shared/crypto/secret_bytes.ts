/**
 * Secret bytes: in a private field, which no conversion prints, and wiped at the end of their scope.
 *
 * What JavaScript cannot promise: a garbage collector may have moved a small array before it was wiped, and a
 * string that a secret came in (JSON) cannot be wiped at all. Wiping reduces how long and in how many
 * places a secret exists; it cannot remove every copy.
 *
 * @module
 */

/** Owns a buffer with a secret. Disposing wipes it. */
export class SecretBytes implements Disposable {
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  /** Takes ownership of the buffer: the caller must not keep a copy. */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
  }

  /** Holds a copy of the bytes; the caller must wipe the original. */
  static copyOf(bytes: Uint8Array): SecretBytes {
    return new SecretBytes(new Uint8Array(bytes));
  }

  /** Length in bytes. */
  get length(): number {
    return this.expose().length;
  }

  /**
   * The bytes themselves, borrowed: not to be kept past the life of this object.
   *
   * @throws {TypeError} after they were wiped.
   */
  expose(): Uint8Array<ArrayBuffer> {
    if (this.#bytes === undefined) throw new TypeError("Cannot read secret bytes: they were wiped");
    return this.#bytes;
  }

  /** A copy of the secret with its own memory. */
  clone(): SecretBytes {
    return SecretBytes.copyOf(this.expose());
  }

  /** Zeroes the bytes. */
  [Symbol.dispose](): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }
}
