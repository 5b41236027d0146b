/**
 * Trusted session keys (TSK) on their issuer's machine: made here, kept in a file, wrapped by KMS for the enclave. The issuer is the owner of the
 * data; the parent instance never holds an unwrapped key.
 *
 * @module
 */
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { hkdfSync } from "node:crypto";
import type { EncryptionContext } from "../../shared/aws/kms_limits.ts";
import { TSK_CONTEXT, tskContext } from "../../shared/aws/tsk_context.ts";
import { KEY_LENGTH } from "../../shared/crypto/sealing.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readSecretFile } from "../../shared/files.ts";

/** KMS Encrypt under one KMS key. */
export interface KeyWrapper extends AsyncDisposable {
  /** The KMS key's ARN. */
  readonly keyArn: string;
  /**
   * @param plaintext 32 bytes, borrowed
   * @returns KMS's CiphertextBlob
   */
  encrypt(plaintext: Uint8Array, context: EncryptionContext): Promise<Uint8Array>;
}

/** A session key as `configure` takes it. Nothing of it is secret. */
interface WrappedSessionKey {
  /** KMS's CiphertextBlob, base64. */
  readonly encrypted_tsk: string;
  readonly kms_key_id: string;
  readonly context: EncryptionContext;
  /** See {@link fingerprint}. */
  readonly fingerprint: string;
}

const FINGERPRINT_LENGTH = 8;
const FILE_MODE = 0o600;
/** 64 hex digits and a line end, with room for white space. */
const MAX_FILE_LENGTH = 256;

/**
 * Tells two session keys apart without showing either: HKDF-SHA-256 of the key under its own label.
 *
 * @returns 16 hex digits
 */
export function fingerprint(key: SecretBytes): string {
  const derived = hkdfSync(
    "sha256",
    key.expose(),
    new Uint8Array(0),
    "denclave/tsk-fingerprint/1",
    FINGERPRINT_LENGTH,
  );
  return encodeHex(new Uint8Array(derived));
}

/**
 * Makes a session key, writes it to a file that must not exist, and wraps it. When KMS refuses, the file is removed again.
 *
 * @throws {EnclaveError} `tsk_exists`, or `tsk_file` when the file cannot be written; the wrapper's errors.
 */
export async function createSessionKey(
  file: string,
  wrapper: KeyWrapper,
  epoch?: number,
): Promise<WrappedSessionKey> {
  using key = new SecretBytes(crypto.getRandomValues(new Uint8Array(KEY_LENGTH)));
  try {
    await Deno.writeTextFile(file, `${encodeHex(key.expose())}\n`, { mode: FILE_MODE, createNew: true });
  } catch (thrown) {
    // Remove a partly written key, for example when the disk is full.
    if (!(thrown instanceof Deno.errors.AlreadyExists)) await Deno.remove(file).catch(() => {});
    throw new EnclaveError(`Cannot write ${file}: ${messageOf(thrown)}`, {
      code: thrown instanceof Deno.errors.AlreadyExists ? "tsk_exists" : "tsk_file",
      hint: thrown instanceof Deno.errors.AlreadyExists
        ? "A session key is never overwritten: name another file, or wrap the existing key with tsk wrap."
        : "Name a file that does not exist yet, in an existing folder that you may write to.",
      cause: thrown,
    });
  }
  try {
    return await wrapSessionKey(key, wrapper, epoch);
  } catch (thrown) {
    await Deno.remove(file);
    throw thrown;
  }
}

/** Wraps a session key, for a new KMS key or a new epoch. @throws the wrapper's errors. */
export async function wrapSessionKey(
  key: SecretBytes,
  wrapper: KeyWrapper,
  epoch?: number,
): Promise<WrappedSessionKey> {
  const context = tskContext(TSK_CONTEXT, epoch) ?? TSK_CONTEXT;
  const wrapped = await wrapper.encrypt(key.expose(), context);
  return {
    encrypted_tsk: encodeBase64(wrapped),
    kms_key_id: wrapper.keyArn,
    context,
    fingerprint: fingerprint(key),
  };
}

/**
 * Reads a session key's file: 64 hex digits.
 *
 * @throws {EnclaveError} `usage` when it cannot be read, holds something else, or can be used by other users.
 */
export async function readSessionKey(file: string): Promise<SecretBytes> {
  try {
    using bytes = new SecretBytes(await readSecretFile(file, MAX_FILE_LENGTH));
    const text = new TextDecoder().decode(bytes.expose()).trim();
    if (/^[0-9a-fA-F]{64}$/.test(text)) return new SecretBytes(decodeHex(text));
    throw new TypeError(`it must hold ${2 * KEY_LENGTH} hex digits`);
  } catch (thrown) {
    throw new EnclaveError(`Cannot read a session key from ${file}: ${messageOf(thrown)}`, {
      code: "usage",
      hint: "Give the file that tsk create wrote.",
      cause: thrown,
    });
  }
}
