/**
 * AWS credentials on their way to the SDK: held as bytes that are wiped, compared by a hash.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { CredentialStrings } from "./kms_limits.ts";

/** The three as UTF-8. The session token of long-lived keys is empty. */
export type CredentialBytes = Readonly<Record<keyof CredentialStrings, Uint8Array<ArrayBuffer>>>;

/** Their names. */
export const CREDENTIALS = ["accessKeyId", "secretAccessKey", "sessionToken"] as const;

/** Owns a set of credentials, in a private field, which no conversion prints. Disposing wipes them. */
export class Credentials implements Disposable {
  #bytes: CredentialBytes | undefined;

  /** Takes ownership of the bytes. */
  constructor(bytes: CredentialBytes) {
    this.#bytes = bytes;
  }

  /** The UTF-8 bytes of the strings, which themselves cannot be wiped. */
  static fromStrings(strings: CredentialStrings): Credentials {
    const parts = CREDENTIALS.map((name) => [name, new TextEncoder().encode(strings[name])]);
    return new Credentials(Object.fromEntries(parts));
  }

  /**
   * The bytes themselves, borrowed: not to be kept past the life of this object.
   *
   * @throws {TypeError} after they were wiped.
   */
  expose(): CredentialBytes {
    if (this.#bytes === undefined) throw new TypeError("Cannot read credentials: they were wiped");
    return this.#bytes;
  }

  /** A copy with its own memory. */
  clone(): Credentials {
    return new Credentials(structuredClone(this.expose()));
  }

  /**
   * SHA-256 over all three and the region, for looking up what belongs to them. Each part is hashed with its length,
   * so that different sets never give the same input.
   *
   * @returns hex
   */
  fingerprint(region: string): string {
    const hash = createHash("sha256");
    const bytes = this.expose();
    for (const name of CREDENTIALS) hash.update(`${bytes[name].length}:`).update(bytes[name]);
    return hash.update(region).digest("hex");
  }

  /** Wipes all three. */
  [Symbol.dispose](): void {
    for (const bytes of Object.values(this.#bytes ?? {})) bytes.fill(0);
    this.#bytes = undefined;
  }
}
