/**
 * Limits of the KMS API (AWS KMS API reference), and of the credentials of a request.
 *
 * @module
 */

/** KMS's limit on a `CiphertextBlob`, bytes (API reference, Decrypt). */
export const MAX_CIPHERTEXT_LENGTH = 6144;
/** KMS's limit on `NumberOfBytes` of GenerateRandom. */
export const MAX_RANDOM_LENGTH = 1024;
/** KMS's limit on a `KeyId`, characters. */
export const MAX_KEY_ID_LENGTH = 2048;
/** IAM's limits, with a margin: access key ids have 20 characters, secrets 40, session tokens a few thousand. */
export const MAX_CREDENTIAL_LENGTH = {
  accessKeyId: 128,
  secretAccessKey: 256,
  sessionToken: 16_384,
} as const;

/** An EncryptionContext: what KMS binds to a ciphertext and writes into its log. Not secret. */
export type EncryptionContext = Readonly<Record<string, string>>;

/** The three strings of a request. Only the session token may be empty, for long-lived keys. */
export type CredentialStrings = Readonly<
  Record<"accessKeyId" | "secretAccessKey" | "sessionToken", string>
>;
