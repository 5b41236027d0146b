/**
 * A private key that is stored outside the enclave: sealed under a data key that KMS wrapped, opened again, and attested to. The accounts of the wallet
 * and the master key differ only in what {@link WrappedKeyKind} says.
 *
 * @module
 */
import { timingSafeEqual } from "@std/crypto";
import { type KeyStatement, keyUserData } from "../../shared/attestation/statement.ts";
import type { Credentials } from "../../shared/aws/credentials.ts";
import { awsAdvice } from "../../shared/aws/errors.ts";
import type { KeyArn } from "../../shared/aws/key_arn.ts";
import {
  type Binding,
  type BoundKeyOptions,
  openPrivateKey,
  sealPrivateKey,
} from "../../shared/crypto/bound_key.ts";
import { KEY_LENGTH, OpenError } from "../../shared/crypto/sealing.ts";
import { isSecretKey } from "../../shared/crypto/secp256k1.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { WireError } from "../../shared/wire/messages.ts";
import { type EncryptionContext, kmsErrorName } from "../kms/kms.ts";
import { attest } from "./attestation.ts";
import { kmsFailure } from "./kms_failure.ts";
import type { Ports } from "./feature.ts";

/** What differs between the kinds of key. */
export interface WrappedKeyKind {
  readonly purpose: "wallet" | "master";
  /** Names in requests, for errors. The subject's is also its name in the data key's EncryptionContext. */
  readonly subject: string;
  readonly dataKey: string;
  readonly privateKey: string;
  readonly keyId: string;
  readonly publicPart: string;
  /** What the private key is bound to beside what the data key is bound to. */
  readonly bound: string;
  readonly publicPartOf: (privateKey: SecretBytes) => Uint8Array<ArrayBuffer>;
  /** The log's event when KMS fails. */
  readonly event: string;
}

/** What the key is bound to. */
export interface KeyIdentity extends Omit<Binding, "purpose"> {
  readonly key: KeyArn;
  /** Address or compressed public key. */
  readonly publicPart: Uint8Array<ArrayBuffer>;
}

/** The row that is stored. */
export interface WrappedKey extends KeyIdentity {
  readonly encryptedDataKey: Uint8Array<ArrayBuffer>;
  readonly encryptedPrivateKey: Uint8Array<ArrayBuffer>;
}

/** The error of a stored row that cannot be trusted. @param fields to look at */
export function rowRejected(fields: string): WireError {
  return new WireError("row_rejected", `Cannot trust ${fields}`);
}

/** Wraps and opens keys of one kind. */
export class WrappedKeys {
  #kind: WrappedKeyKind;
  #ports: Ports;

  constructor(kind: WrappedKeyKind, ports: Ports) {
    this.#kind = kind;
    this.#ports = ports;
  }

  /**
   * Seals a private key under a new data key.
   *
   * @param privateKey borrowed
   * @throws {WireError} (rejects)
   */
  async wrap<I extends KeyIdentity>(
    identity: I,
    { privateKey, credentials }: { readonly privateKey: SecretBytes; readonly credentials: Credentials },
  ): Promise<I & WrappedKey> {
    const { key, subject } = identity;
    const dataKey = await this.#ports.kms.generateDataKey({ region: key.region, credentials }, {
      keyId: key.arn,
      keySpec: "AES_256",
      context: this.#contextOf(subject),
    }).catch((thrown) => this.#kmsFailed(thrown, "kms_generate_failed"));
    using plaintext = dataKey.plaintext;
    const encryptedPrivateKey = sealPrivateKey(plaintext, privateKey, this.#bindingOf(identity));
    return { ...identity, encryptedDataKey: dataKey.ciphertext, encryptedPrivateKey };
  }

  /**
   * Has KMS open the data key, opens the private key with it, and compares it with the public part.
   *
   * @returns the private key, the caller's to dispose
   * @throws {WireError} (rejects) `row_rejected`, or how KMS failed
   */
  async open(row: WrappedKey, credentials: Credentials): Promise<SecretBytes> {
    const kind = this.#kind;
    const { key, subject, encryptedDataKey: ciphertext } = row;
    const request = { ciphertext, keyId: key.arn, context: this.#contextOf(subject) };
    using dataKey = await this.#ports.kms.decrypt({ region: key.region, credentials }, request)
      .catch((thrown) => this.#kmsFailed(thrown, "kms_decrypt_failed"));
    if (dataKey.length !== KEY_LENGTH) {
      const why = `KMS opened it, but a data key has ${KEY_LENGTH} bytes, not ${dataKey.length}`;
      throw rowRejected(`${kind.dataKey}: ${why}`);
    }
    let privateKey: SecretBytes;
    try {
      privateKey = openPrivateKey(dataKey, row.encryptedPrivateKey, this.#bindingOf(row));
    } catch (thrown) {
      if (!(thrown instanceof OpenError)) throw thrown;
      const right = `${kind.dataKey}, ${kind.subject} and ${kind.keyId} are right`;
      throw rowRejected(`${kind.privateKey}, or the ${kind.bound} that it is bound to (${right})`);
    }
    // The row opened, so it was sealed with this public part; the key is still compared with it.
    if (
      isSecretKey(privateKey.expose()) && timingSafeEqual(kind.publicPartOf(privateKey), row.publicPart)
    ) {
      return privateKey;
    }
    privateKey[Symbol.dispose]();
    throw rowRejected(`${kind.publicPart}: it is not the private key's`);
  }

  /** The NSM's document about a key, base64. @throws {WireError} (rejects) `attestation_unavailable` */
  async attest(
    { subject, key, publicPart, epoch = 0 }: KeyIdentity,
    { nonce, ...how }: Pick<KeyStatement, "from" | "previous"> & { readonly nonce: Uint8Array<ArrayBuffer> },
  ): Promise<string> {
    const about = { purpose: this.#kind.purpose, subject, publicPart, keyArn: key.arn, epoch, ...how };
    const userData = await keyUserData(about, this.#ports.configurationHash);
    return await attest(this.#ports, { userData, nonce });
  }

  #contextOf(subject: string): EncryptionContext {
    return { app: "denclave", purpose: this.#kind.purpose, [this.#kind.subject]: subject };
  }

  #bindingOf(identity: KeyIdentity): BoundKeyOptions {
    const { aead, entropy: { random } } = this.#ports;
    return { binding: { ...identity, purpose: this.#kind.purpose }, aead, random: random.fill };
  }

  /** Expired credentials, a row that cannot be trusted, or KMS's own failure, logged. Other errors are thrown unchanged. */
  #kmsFailed(thrown: unknown, code: "kms_decrypt_failed" | "kms_generate_failed"): never {
    if (!(thrown instanceof EnclaveError)) throw thrown;
    const { event, dataKey, keyId, subject } = this.#kind;
    this.#ports.log("error", event, { code: thrown.code, reason: thrown.message, hint: thrown.hint });
    const name = kmsErrorName(thrown) ?? "";
    if (awsAdvice(name)?.meaning === "expired") {
      throw new WireError("credentials_expired", `KMS refused: ${name}: send fresh credentials`);
    }
    if (code === "kms_decrypt_failed" && name === "InvalidCiphertextException") {
      throw rowRejected(`${dataKey}, or the ${subject} that it is bound to (KMS: ${name})`);
    }
    if (code === "kms_decrypt_failed" && name === "IncorrectKeyException") {
      const why = "the data key was wrapped by another KMS key";
      throw rowRejected(`${keyId}, or ${dataKey}: ${why} (KMS: ${name})`);
    }
    throw kmsFailure(thrown, code);
  }
}
