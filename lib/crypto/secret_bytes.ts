/**
 * Bytes that must not be seen: private, redacted wherever a value is printed, wiped at the end of their scope.
 *
 * What JavaScript cannot promise: a garbage collector may have moved a small array before it was wiped, and a
 * string that a secret came in (JSON) cannot be wiped at all. Wiping shortens the time and the number of places;
 * it does not reach zero.
 *
 * @module
 */

const REDACTED = "[secret]";

/** Owns a buffer with a secret. `using` it wipes it. */
export class SecretBytes implements Disposable {
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  /** Takes the buffer over: the caller must not keep a copy. */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
  }

  /** The UTF-8 bytes of a string. The string itself stays where it is. */
  static fromString(text: string): SecretBytes {
    return new SecretBytes(new TextEncoder().encode(text));
  }

  /** A copy of the bytes, which stay the caller's to wipe. */
  static copyOf(bytes: Uint8Array): SecretBytes {
    return new SecretBytes(new Uint8Array(bytes));
  }

  /** Bytes. */
  get length(): number {
    return this.expose().length;
  }

  /** Whether there is nothing left to read. */
  get isWiped(): boolean {
    return this.#bytes === undefined;
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

  /** A second owner of the same secret, with memory of its own. */
  clone(): SecretBytes {
    return SecretBytes.copyOf(this.expose());
  }

  /** Zeroes the bytes. */
  [Symbol.dispose](): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }

  /** Redacted. */
  toString(): string {
    return REDACTED;
  }

  /** Redacted. */
  toJSON(): string {
    return REDACTED;
  }

  /** Redacted. */
  [Symbol.for("Deno.customInspect")](): string {
    return REDACTED;
  }

  /** Redacted. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return REDACTED;
  }
}
