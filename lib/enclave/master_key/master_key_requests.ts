/**
 * Parses the master key's requests.
 *
 * @module
 */
import { timingSafeEqual } from "@std/crypto";
import { decodeBase64, decodeHex } from "@std/encoding";
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { SCALAR_LENGTH } from "../../shared/crypto/secp256k1.ts";
import { field, requiredString, WireError, type WireObject } from "../../shared/wire/messages.ts";
import {
  base64Field,
  isGiven,
  keySelection,
  parseNonce,
  SEALED_KEY_RANGE,
  WRAPPED_KEY_RANGE,
} from "../server/fields.ts";

/** Bytes of a compressed public key. */
export const PUBLIC_KEY_LENGTH = 33;
/** The first epoch of a key. */
export const FIRST_EPOCH = 1;
const MAX_ID_LENGTH = 128;

/** The stored row of a master key. */
export interface MasterKeyRow {
  readonly encryptedDataKey: Uint8Array<ArrayBuffer>;
  readonly encryptedPrivateKey: Uint8Array<ArrayBuffer>;
  /** Compressed. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  readonly epoch: number;
}

/** Whether two rows are the same, byte for byte. */
export function isSameRow(a: MasterKeyRow, b: MasterKeyRow): boolean {
  return a.epoch === b.epoch && timingSafeEqual(a.publicKey, b.publicKey) &&
    timingSafeEqual(a.encryptedPrivateKey, b.encryptedPrivateKey) &&
    timingSafeEqual(a.encryptedDataKey, b.encryptedDataKey);
}

/** A parsed `master_key.init` or `master_key.verify`. */
export interface InitRequest {
  /** Digits or a name: a number and its decimal text are the same id. */
  readonly enclaveId: string;
  readonly selection: KeySelection;
  /** Undefined when there is none yet. */
  readonly row: MasterKeyRow | undefined;
  readonly nonce: Uint8Array<ArrayBuffer> | undefined;
}

/** Kinds of signature. */
export type SignatureScheme = "ecdsa" | "schnorr";

const ROW_FIELDS = ["kms_encrypted_dek", "encrypted_private_key", "public_key", "key_epoch"] as const;

function parseEnclaveId(request: WireObject): string {
  const value = field(request, "enclave_id");
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return String(value);
  if (
    typeof value === "string" && value.length <= MAX_ID_LENGTH && /^[A-Za-z0-9][A-Za-z0-9._:-]*$/.test(value)
  ) {
    return value;
  }
  throw new WireError(
    "missing_fields",
    "Field enclave_id must be a whole number, or a name of letters, digits, dots, colons, dashes and underscores",
  );
}

function parseOptionalEnclaveId(request: WireObject): string | undefined {
  return isGiven(request, "enclave_id") ? parseEnclaveId(request) : undefined;
}

function parseEpoch(request: WireObject): number {
  const epoch = field(request, "key_epoch");
  if (typeof epoch === "number" && Number.isSafeInteger(epoch) && epoch >= FIRST_EPOCH) return epoch;
  throw new WireError("missing_fields", `Field key_epoch must be a whole number from ${FIRST_EPOCH}`);
}

function parseRow(request: WireObject): MasterKeyRow | undefined {
  const missing: string[] = [];
  for (const name of ROW_FIELDS) if (!isGiven(request, name)) missing.push(name);
  if (missing.length === ROW_FIELDS.length) return undefined;
  // An incomplete row is an error: treating it as no row would make a new key.
  if (missing.length > 0) {
    throw new WireError(
      "missing_fields",
      `Field ${missing.join(", ")} is missing: send the whole row, or none of it for a new key`,
    );
  }
  return {
    encryptedDataKey: base64Field(
      request,
      "kms_encrypted_dek",
      "the data key as KMS wrapped it",
      WRAPPED_KEY_RANGE,
    ),
    encryptedPrivateKey: base64Field(
      request,
      "encrypted_private_key",
      "the sealed private key",
      SEALED_KEY_RANGE,
    ),
    publicKey: base64Field(request, "public_key", "the compressed public key", {
      min: PUBLIC_KEY_LENGTH,
      max: PUBLIC_KEY_LENGTH,
    }),
    epoch: parseEpoch(request),
  };
}

/** @throws {WireError} that names the field. */
export function parseInitRequest(request: WireObject): InitRequest {
  return {
    enclaveId: parseEnclaveId(request),
    selection: keySelection(request, ["kms_key_id"]),
    row: parseRow(request),
    nonce: parseNonce(request),
  };
}

/** A parsed `master_key.public_info`. */
export interface PublicInfoRequest {
  /** Undefined for whichever is held. */
  readonly enclaveId: string | undefined;
  readonly nonce: Uint8Array<ArrayBuffer> | undefined;
}

/** @throws {WireError} that names the field. */
export function parsePublicInfoRequest(request: WireObject): PublicInfoRequest {
  return { enclaveId: parseOptionalEnclaveId(request), nonce: parseNonce(request) };
}

/** A parsed `master_key.rewrap`. */
export interface RewrapRequest extends PublicInfoRequest {
  /** The KMS key to wrap under. */
  readonly selection: KeySelection;
  /** The epoch of the row to rewrap; undefined for the one that is held when the request arrives. */
  readonly epoch: number | undefined;
  /** SHA-256 of the attestation document of that epoch, for the new document to name. */
  readonly previous: Uint8Array<ArrayBuffer> | undefined;
}

const SHA256_RANGE = { min: 32, max: 32 } as const;

/** @throws {WireError} that names the field. */
export function parseRewrapRequest(request: WireObject): RewrapRequest {
  requiredString(request, "new_kms_key_id", "the KMS key to wrap under");
  return {
    ...parsePublicInfoRequest(request),
    selection: keySelection(request, ["new_kms_key_id"]),
    epoch: isGiven(request, "key_epoch") ? parseEpoch(request) : undefined,
    previous: isGiven(request, "previous_document_sha256")
      ? base64Field(request, "previous_document_sha256", "a SHA-256 digest", SHA256_RANGE)
      : undefined,
  };
}

/** A parsed `master_key.sign`. */
export interface SignRequest {
  /** Undefined for whichever is held. */
  readonly enclaveId: string | undefined;
  /** 32 bytes. */
  readonly digest: Uint8Array<ArrayBuffer>;
  readonly scheme: SignatureScheme;
}

/** `master_key.sign`. The digest is base64, as bytes are in these requests, or hex. @throws {WireError} that names the field. */
export function parseSignRequest(request: WireObject): SignRequest {
  const enclaveId = parseOptionalEnclaveId(request);
  const text = requiredString(request, "digest", `${SCALAR_LENGTH} bytes, base64 or hex`);
  const scheme = field(request, "scheme") ?? "ecdsa";
  if (scheme !== "ecdsa" && scheme !== "schnorr") {
    throw new WireError("missing_fields", "Field scheme must be ecdsa or schnorr");
  }
  // 32 bytes are 64 hex digits or 44 base64 characters, so the length is unambiguous.
  const isHex = /^(0x)?[0-9a-fA-F]{64}$/.test(text);
  try {
    const digest = isHex ? decodeHex(text.slice(-64)) : decodeBase64(text);
    if (digest.length === SCALAR_LENGTH) return { enclaveId, digest, scheme };
  } catch {
    // Neither: reported below.
  }
  throw new WireError("missing_fields", `Field digest must be ${SCALAR_LENGTH} bytes, base64 or hex`);
}
