/**
 * AWS credentials as text, before they are held as bytes.
 *
 * @module
 */

/** The three strings of a request. `sessionToken` is empty for long-lived keys. */
export interface CredentialStrings {
  /** Such as `ASIA...`. */
  readonly accessKeyId: string;
  /** Never empty. */
  readonly secretAccessKey: string;
  /** Empty for long-lived keys. */
  readonly sessionToken: string;
}
