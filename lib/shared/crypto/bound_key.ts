/**
 * Seals a private key into a row, under a key derived from a KMS data key, and bound to the row's other fields. A swapped or edited row
 * does not open. Shared by the wallet and the master key.
 *
 * Sealing key: HKDF-SHA-256 (RFC 5869) of the data key, no salt, info `denclave/<purpose>/1`. Blob: nonce (12) ‖ ciphertext (32) ‖ tag (16).
 * Additional data: a CBOR array [version, purpose, subject, account, region or null, key id, public part, epoch or null].
 *
 * @module
 */
import { encode } from "cborg";
import { hkdfSync } from "node:crypto";
import type { Aead } from "./aead.ts";
import { KEY_LENGTH, SealingKey } from "./sealing.ts";
import type { FillRandom } from "./random.ts";
import { SecretBytes } from "./secret_bytes.ts";

/** Version of the binding and of the rows. Later versions must still open rows of this one. */
export const BOUND_KEY_VERSION = 1;

/** What a sealed private key is bound to. PCRs are not included, since a new build must open old rows. */
export interface Binding {
  /** The service: a wallet's data key cannot open a master key. */
  readonly purpose: "wallet" | "master";
  /** The account's name, or the enclave's id. */
  readonly subject: string;
  /** The KMS key that wraps the data key. */
  readonly key: { readonly account: string; readonly region: string; readonly id: string };
  /** Address or public key, bytes. */
  readonly publicPart: Uint8Array;
  /** How often the row was rewrapped, where rows can be. */
  readonly epoch?: number | undefined;
}

/** Options of sealing and opening. */
export interface BoundKeyOptions {
  readonly binding: Binding;
  /** Makes the nonces. */
  readonly random: FillRandom;
  /** The implementation of AES-256-GCM; `node:crypto` by default. */
  readonly aead?: Aead | undefined;
}

function additionalData({ purpose, subject, key, publicPart, epoch }: Binding): Uint8Array<ArrayBuffer> {
  // A multi-Region key is the same key in every region (AWS KMS Developer Guide, "Multi-Region keys").
  const region = key.id.startsWith("mrk-") ? null : key.region;
  return new Uint8Array(
    encode([BOUND_KEY_VERSION, purpose, subject, key.account, region, key.id, publicPart, epoch ?? null]),
  );
}

function sealingKey(dataKey: SecretBytes, { binding, aead, random }: BoundKeyOptions): SealingKey {
  if (dataKey.length !== KEY_LENGTH) {
    throw new RangeError(`Cannot seal with a data key of ${dataKey.length} bytes: AES_256 has ${KEY_LENGTH}`);
  }
  const info = `denclave/${binding.purpose}/${BOUND_KEY_VERSION}`;
  const derived = hkdfSync("sha256", dataKey.expose(), new Uint8Array(0), info, KEY_LENGTH);
  return new SealingKey(new SecretBytes(new Uint8Array(derived)), { aead, random });
}

/**
 * Seals a private key.
 *
 * @param dataKey 32 bytes, borrowed
 * @returns 12 + length + 16 bytes
 * @throws {RangeError} on a data key of another length.
 */
export function sealPrivateKey(
  dataKey: SecretBytes,
  privateKey: SecretBytes,
  options: BoundKeyOptions,
): Uint8Array<ArrayBuffer> {
  using key = sealingKey(dataKey, options);
  return key.seal(privateKey.expose(), additionalData(options.binding));
}

/**
 * Opens a private key that {@link sealPrivateKey} sealed.
 *
 * @param dataKey 32 bytes, borrowed
 * @returns the private key, the caller's to dispose
 * @throws {OpenError} when the blob, the data key or a bound value differs from when it was sealed.
 * @throws {RangeError} on a data key of another length.
 */
export function openPrivateKey(
  dataKey: SecretBytes,
  blob: Uint8Array<ArrayBuffer>,
  options: BoundKeyOptions,
): SecretBytes {
  using key = sealingKey(dataKey, options);
  return new SecretBytes(key.open(blob, additionalData(options.binding)));
}
