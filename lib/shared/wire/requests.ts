/**
 * The fields of requests as the service reads them. `protocol.ts` describes them, with the fields that the service reads by other means.
 *
 * @module
 */
import { decodeBase64, decodeHex } from "@std/encoding";
import { MAX_CIPHERTEXT_LENGTH } from "../aws/kms_limits.ts";
import { field, isObject } from "../json.ts";
import { base64, BOOLEAN, choice, type Field, ID, integer, NAME, optional, text } from "./fields.ts";
import { requiredString, WireError } from "./messages.ts";

/** Long enough not to repeat, and within the NSM's limit. */
const NONCE = optional(base64("a nonce for the attestation document", [16, 512]));
const DATA_KEY = base64("the data key as KMS wrapped it", [1, MAX_CIPHERTEXT_LENGTH]);
/** Nonce (12 bytes), private key (32), tag (16). */
const PRIVATE_KEY = base64("the sealed private key", 60);
const DIGEST_LENGTH = 32;

/** 32 bytes are 64 hex digits or 44 base64 characters, so the length is unambiguous. */
const DIGEST: Field<Uint8Array<ArrayBuffer>, { readonly type: "string" }> = {
  spec: { type: "string" },
  read: (request, name) => {
    const means = `${DIGEST_LENGTH} bytes, base64 or hex`;
    const digits = requiredString(request, name, means);
    try {
      const isHex = /^(0x)?[0-9a-fA-F]{64}$/.test(digits);
      const digest = isHex ? decodeHex(digits.slice(-64)) : decodeBase64(digits);
      if (digest.length === DIGEST_LENGTH) return digest;
    } catch {
      // Neither: reported below.
    }
    throw new WireError("missing_fields", `Field ${name} must be ${means}`);
  },
};

const RECEIPT_NONCE = base64("the receipt's nonce", [16, 64]);
/** What asks for a receipt. */
const RECEIPT = optional({
  spec: { type: "object" },
  read: (request, name) => {
    const value = field(request, name);
    if (isObject(value)) return RECEIPT_NONCE.read(value, "nonce");
    throw new WireError("missing_fields", `Field ${name} must be an object with a nonce`);
  },
});

/** `configure`. */
export const CONFIGURE = { encrypted_tsk: base64("the TSK as KMS wrapped it", [1, MAX_CIPHERTEXT_LENGTH]) };

/** `logs`. */
export const LOGS = {
  limit: optional(integer(1)),
  security: optional(BOOLEAN),
  after: optional(integer(0)),
  boot_id: optional(text("the run that gave after")),
  wait_ms: optional(integer(0)),
};

/** `attest`. */
export const ATTEST = {
  nonce: NONCE,
  user_data: optional(base64("what the document should vouch for", [1, 256])),
};

/** `attest` with the purpose `receipt`. */
export const ATTEST_RECEIPT = {
  nonce: base64("at least 16 random bytes", [16, 512]),
  key: optional(base64("the hash of a receipt key", 32)),
};

/** `process`, beside the blob and what binds it. */
export const PROCESS = { receipt: RECEIPT };

/** `sealed`. */
export const SEALED = {
  key_id: base64("the key's hash", 32),
  client_id: base64("the client's id", [16, 32]),
  counter: integer(1, Number.MAX_SAFE_INTEGER),
  enc: base64("the encapsulated key", 32),
  ciphertext: base64("the sealed request", [16, Number.MAX_SAFE_INTEGER]),
  client_key: optional(base64("the client's public key", 32)),
};

/** The stored row of a master key. */
export const MASTER_KEY_ROW = {
  kms_encrypted_dek: DATA_KEY,
  encrypted_private_key: PRIVATE_KEY,
  public_key: base64("the compressed public key", 33),
  key_epoch: integer(1),
};

/** `master_key.init` and `master_key.verify`, beside the row. */
export const MASTER_KEY = { enclave_id: ID, nonce: NONCE };

/** `master_key.public_info`. */
export const PUBLIC_INFO = { enclave_id: optional(ID), nonce: NONCE };

/** `master_key.rewrap`. */
export const REWRAP = {
  new_kms_key_id: text("the KMS key to wrap under"),
  ...PUBLIC_INFO,
  key_epoch: optional(MASTER_KEY_ROW.key_epoch),
  previous_document_sha256: optional(base64("a SHA-256 digest", 32)),
};

/** `master_key.sign`. */
export const MASTER_KEY_SIGN = {
  enclave_id: optional(ID),
  digest: DIGEST,
  scheme: optional(choice(["ecdsa", "schnorr"])),
  receipt: RECEIPT,
};

/** `generateAccount`. */
export const GENERATE_ACCOUNT = { name: NAME, nonce: NONCE };

/** `sign`, beside the address and what is signed. */
export const ACCOUNT_ROW = { name: NAME, encryptedPrivateKey: PRIVATE_KEY, encryptedDataKey: DATA_KEY };

/** `rewrapAccount`, beside the address and the row. */
export const REWRAP_ACCOUNT = {
  new_key_id: REWRAP.new_kms_key_id,
  nonce: NONCE,
  previous_document_sha256: REWRAP.previous_document_sha256,
};
