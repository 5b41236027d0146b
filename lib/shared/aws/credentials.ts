/**
 * AWS credentials on their way to the SDK: held as bytes that are wiped, compared by a hash.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { SecretBytes } from "../crypto/secret_bytes.ts";
import type { CredentialStrings } from "./kms_limits.ts";

export type { CredentialStrings } from "./kms_limits.ts";

/** Owns a set of credentials. Disposing wipes them. */
export class Credentials implements Disposable {
  /** UTF-8. */
  readonly accessKeyId: SecretBytes;
  /** UTF-8. */
  readonly secretAccessKey: SecretBytes;
  /** UTF-8; empty for long-lived keys. */
  readonly sessionToken: SecretBytes;

  /** Takes ownership of the three. */
  constructor(accessKeyId: SecretBytes, secretAccessKey: SecretBytes, sessionToken: SecretBytes) {
    this.accessKeyId = accessKeyId;
    this.secretAccessKey = secretAccessKey;
    this.sessionToken = sessionToken;
  }

  /** The UTF-8 bytes of the strings, which themselves cannot be wiped. */
  static fromStrings(strings: CredentialStrings): Credentials {
    const secret = (name: keyof CredentialStrings) => SecretBytes.fromString(strings[name]);
    return new Credentials(secret("accessKeyId"), secret("secretAccessKey"), secret("sessionToken"));
  }

  /** A copy with its own memory. */
  clone(): Credentials {
    return new Credentials(this.accessKeyId.clone(), this.secretAccessKey.clone(), this.sessionToken.clone());
  }

  /**
   * SHA-256 over all three and the region, for looking up what belongs to them. Each part is hashed with its length,
   * so that different sets never give the same input.
   *
   * @returns hex
   */
  fingerprint(region: string): string {
    const hash = createHash("sha256");
    for (const part of [this.accessKeyId, this.secretAccessKey, this.sessionToken]) {
      hash.update(`${part.length}:`).update(part.expose());
    }
    return hash.update(region).digest("hex");
  }

  /** Wipes all three. */
  [Symbol.dispose](): void {
    this.accessKeyId[Symbol.dispose]();
    this.secretAccessKey[Symbol.dispose]();
    this.sessionToken[Symbol.dispose]();
  }
}
