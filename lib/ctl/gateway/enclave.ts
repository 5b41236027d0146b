/**
 * An enclave's master key, from the parent's side: sends requests, and parses and checks the replies.
 *
 * @module
 */
import { encodeBase64, encodeHex } from "@std/encoding";
import { verifyDigest, verifySchnorr } from "../../shared/crypto/secp256k1_verify.ts";
import { bytesField } from "../../shared/json.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import { type Requester, ServiceError } from "../client/client.ts";
import { exchangeWithCredentials } from "../client/credentialed.ts";
import type { CredentialSource } from "../aws/credential_source.ts";
import { GatewayError } from "./errors.ts";
import type { StoredMasterKey } from "./master_key_store.ts";

/** An enclave's reply about its key, with an id of the enclave's current boot. */
export interface EnclaveKey {
  readonly row: StoredMasterKey;
  readonly boot: string;
  readonly newlyGenerated: boolean;
  /** What a nonce asked for. */
  readonly document: Uint8Array | undefined;
}

/** The key that an enclave holds. */
export interface HeldMasterKey {
  readonly publicKey: Uint8Array;
  readonly keyEpoch: number;
  /** ARN of the KMS key that wraps it. */
  readonly kmsKeyId: string;
  readonly boot: string;
}

/** Kinds of signature. */
export type Scheme = "ecdsa" | "schnorr";

/** A signature, checked. */
export interface MasterKeySignature {
  readonly scheme: Scheme;
  /** 64 bytes. */
  readonly signature: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly boot: string;
}

/** Lengths that a row must have before it is stored. */
const LENGTHS = {
  public_key: [33, 33],
  encrypted_private_key: [60, 60],
  kms_encrypted_dek: [1, 6144],
} as const;
/** Bytes of an attestation document. */
const MAX_DOCUMENT_LENGTH = 16_384;

function unexpected(what: string): GatewayError {
  return new GatewayError(`The enclave's reply is malformed: ${what}`, {
    code: "unexpected_reply",
    hint: "Check that the gateway and the enclave have the same version. Nothing was stored.",
  });
}

function bytesOf(reply: WireObject, field: string): Uint8Array {
  const bytes = bytesField(reply, field);
  if (bytes !== undefined) return bytes;
  throw unexpected(`${field} is missing`);
}

function textOf(reply: WireObject, field: string): string {
  const value = reply[field];
  if (typeof value === "string" && value !== "") return value;
  throw unexpected(`${field} is missing`);
}

function parseKey(reply: WireObject, enclaveId: number): EnclaveKey {
  if (reply["enclave_id"] !== String(enclaveId)) {
    throw unexpected(`it is about enclave ${String(reply["enclave_id"])}`);
  }
  for (const [field, [min, max]] of Object.entries(LENGTHS)) {
    const { length } = bytesOf(reply, field);
    if (length < min || length > max) throw unexpected(`${field} has ${length} bytes`);
  }
  const epoch = reply["key_epoch"];
  if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 1) {
    throw unexpected("key_epoch is missing");
  }
  const document = reply["attestation_document"] === undefined
    ? undefined
    : bytesOf(reply, "attestation_document");
  if (document !== undefined && document.length > MAX_DOCUMENT_LENGTH) {
    throw unexpected(`attestation_document has ${document.length} bytes`);
  }
  return {
    document,
    row: {
      enclaveId,
      kmsEncryptedDek: bytesOf(reply, "kms_encrypted_dek"),
      encryptedPrivateKey: bytesOf(reply, "encrypted_private_key"),
      publicKey: bytesOf(reply, "public_key"),
      kmsKeyId: textOf(reply, "kms_key_id"),
      keyEpoch: epoch,
    },
    boot: textOf(reply, "boot_id"),
    newlyGenerated: reply["newly_generated"] === true,
  };
}

/** Talks to one enclave about its master key. */
export interface EnclaveMasterKey {
  /** Sends the row, or requests a new one. Without a key id, the enclave's only KMS key is used. */
  init(
    options: {
      readonly row?: StoredMasterKey | undefined;
      readonly keyId?: string | undefined;
      /** Asks for an attestation document. 16 to 512 bytes. */
      readonly nonce?: Uint8Array | undefined;
    },
  ): Promise<EnclaveKey>;
  /** Checks that the row opens, without using its key. Throws when it does not. */
  verify(row: StoredMasterKey): Promise<void>;
  /** Moves the key that is held, if it is of that epoch. */
  rewrap(
    newKeyId: string,
    options: {
      readonly keyEpoch: number;
      readonly nonce?: Uint8Array | undefined;
      /** SHA-256 of the document of that epoch, for the new one to name. */
      readonly previous?: Uint8Array | undefined;
    },
  ): Promise<EnclaveKey>;
  /** Signs, and checks the signature against the public key that is expected. */
  sign(publicKey: Uint8Array, digest: Uint8Array, scheme: Scheme): Promise<MasterKeySignature>;
  /** The key that the enclave holds, without calling KMS; undefined when it holds none. Throws when it holds another enclave's. */
  held(): Promise<HeldMasterKey | undefined>;
  /** Whether its KMS releases keys to an attested enclave only, as `health` says. */
  isAttested(): Promise<boolean>;
}

function rowFields(row: StoredMasterKey): WireObject {
  return {
    kms_encrypted_dek: encodeBase64(row.kmsEncryptedDek),
    encrypted_private_key: encodeBase64(row.encryptedPrivateKey),
    public_key: encodeBase64(row.publicKey),
    key_epoch: row.keyEpoch,
    kms_key_id: row.kmsKeyId,
  };
}

/** The defined fields, in base64. */
function base64Fields(fields: Readonly<Record<string, Uint8Array | undefined>>): WireObject {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, bytes]) =>
      bytes === undefined ? [] : [[name, encodeBase64(bytes)]]
    ),
  );
}

/** The enclave behind a connection. Borrows it and the credentials. */
export function enclaveMasterKey(
  enclaveId: number,
  client: Requester,
  credentials: CredentialSource,
): EnclaveMasterKey {
  async function ask(type: string, fields: WireObject): Promise<WireObject> {
    const request = { type: `master_key.${type}`, enclave_id: enclaveId, ...fields };
    const reply = await exchangeWithCredentials(client, credentials, request);
    if (reply["status"] !== "ok") throw new ServiceError(reply);
    return reply;
  }

  return {
    init: async ({ row, keyId, nonce }) =>
      parseKey(
        await ask("init", {
          ...(row !== undefined ? rowFields(row) : keyId === undefined ? {} : { kms_key_id: keyId }),
          ...base64Fields({ nonce }),
        }),
        enclaveId,
      ),
    verify: async (row) => void await ask("verify", rowFields(row)),
    rewrap: async (newKeyId, { keyEpoch, nonce, previous }) =>
      parseKey(
        await ask("rewrap", {
          new_kms_key_id: newKeyId,
          key_epoch: keyEpoch,
          ...base64Fields({ nonce, previous_document_sha256: previous }),
        }),
        enclaveId,
      ),
    sign: async (publicKey, digest, scheme) => {
      const reply = await client.request({
        type: "master_key.sign",
        enclave_id: enclaveId,
        digest: encodeBase64(digest),
        scheme,
      });
      const signature = bytesOf(reply, "signature");
      const verify = scheme === "ecdsa" ? verifyDigest : verifySchnorr;
      if (verify(publicKey, digest, signature)) {
        return { scheme, signature, publicKey, boot: textOf(reply, "boot_id") };
      }
      throw new GatewayError(
        `Enclave ${enclaveId} returned a signature that does not match the stored key ${
          encodeHex(publicKey)
        }`,
        {
          code: "signature_wrong",
          hint: "Do not use it. The enclave holds another key: restart it and run gateway init.",
        },
      );
    },
    held: async () => {
      const reply = await client.exchange({ type: "master_key.public_info", enclave_id: enclaveId });
      if (reply["msg"] === "not_configured") return undefined;
      if (reply["status"] !== "ok") throw new ServiceError(reply);
      const epoch = reply["key_epoch"];
      if (typeof epoch !== "number") throw unexpected("key_epoch is missing");
      return {
        publicKey: bytesOf(reply, "public_key"),
        keyEpoch: epoch,
        kmsKeyId: textOf(reply, "kms_key_id"),
        boot: textOf(reply, "boot_id"),
      };
    },
    isAttested: async () => {
      const { kms } = await client.request({ type: "health" });
      return typeof kms === "object" && kms !== null && "attested" in kms && kms.attested === true;
    },
  };
}
