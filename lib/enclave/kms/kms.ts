/**
 * The Kms port: the interface that the services need of a key management service. Four backends implement it: `nitro` (through the SDK,
 * attested), `local` (embedded, for development) and, over HTTPS, `aws` (plain) and `simulated` (with simulated attestation, for tests and dry runs).
 *
 * @module
 */
import type { Credentials } from "../../shared/aws/credentials.ts";
import type { EncryptionContext } from "../../shared/aws/kms_limits.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";

export type { EncryptionContext };

/** A data key: in the clear, and wrapped by the KMS key. */
export interface DataKey {
  /** The plaintext key, the caller's to dispose. */
  readonly plaintext: SecretBytes;
  /** The wrapped key: KMS's CiphertextBlob. */
  readonly ciphertext: Uint8Array<ArrayBuffer>;
}

/** The credentials and region of a call. The credentials are borrowed for the call. */
export interface KmsAccess {
  readonly region: string;
  readonly credentials: Credentials;
}

/** The parameters of a Decrypt. */
export interface DecryptRequest {
  /** KMS's CiphertextBlob, 1 to 6144 bytes. */
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  /** ARN of the key that must have made it. Omitted only where no key is configured (development). */
  readonly keyId?: string | undefined;
  /** The EncryptionContext that it was made under. */
  readonly context?: EncryptionContext | undefined;
}

/** The parameters of a GenerateDataKey. */
export interface DataKeyRequest {
  /** ARN of the key that wraps it. */
  readonly keyId: string;
  /** Its length. */
  readonly keySpec: "AES_256" | "AES_128";
  /** An EncryptionContext to bind. */
  readonly context?: EncryptionContext | undefined;
}

/** A backend's state in `health`: flat and printable. */
export type KmsHealth = Readonly<Record<string, string | number | boolean>>;

/** KMS's error name in the error of any backend; undefined where KMS did not answer. */
export function kmsErrorName(thrown: unknown): string | undefined {
  const name = thrown instanceof EnclaveError ? field(field(thrown, "kms"), "name") : undefined;
  return typeof name === "string" ? name : undefined;
}

/** A key management service. Every call ends within the backend's deadline. */
export interface Kms extends AsyncDisposable {
  /** Whether keys are released only to an attested enclave. */
  readonly attested: boolean;
  /**
   * Of a backend that opens while the service already listens: resolves when it is open, and rejects if it
   * cannot be. Calls wait for it.
   */
  readonly opened?: Promise<void> | undefined;
  /** Whether the SDK has seeded the kernel's entropy pool from the NSM; undefined where that is not known, or not yet. */
  readonly entropySeeded?: boolean | undefined;
  /** How many calls to give it at the same time; one by default. */
  readonly callsAtOnce?: number;
  /** @throws {EnclaveError} with KMS's error name in `kms`, where there is one */
  decrypt(access: KmsAccess, request: DecryptRequest): Promise<SecretBytes>;
  generateDataKey(access: KmsAccess, request: DataKeyRequest): Promise<DataKey>;
  health(): KmsHealth;
}
