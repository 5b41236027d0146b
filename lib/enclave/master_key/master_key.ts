/**
 * The master key: one secp256k1 key per service, made in the enclave and held in memory. The parent stores it sealed, and the enclave opens it
 * again after a restart.
 *
 * `master_key.sign` signs any digest for whoever can reach the vsock port: the enclave cannot know what was hashed.
 *
 * @module
 */
import { encodeBase64, encodeHex } from "@std/encoding";
import { timingSafeEqual } from "@std/crypto";
import type { KeyOrigin } from "../../shared/attestation/statement.ts";
import type { Credentials } from "../../shared/aws/credentials.ts";
import { type Binding, openPrivateKey, sealPrivateKey } from "../../shared/crypto/bound_key.ts";
import { KEY_LENGTH, OpenError } from "../../shared/crypto/sealing.ts";
import {
  isSecretKey,
  publicKeyOf,
  SCALAR_LENGTH,
  secretKeyOf,
  SEED_LENGTH,
  signDigest,
  signSchnorr,
} from "../../shared/crypto/secp256k1.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { type KeyArn, selectKey } from "../../shared/aws/key_arn.ts";
import type { EncryptionContext } from "../kms/kms.ts";
import { type Reply, WireError, type WireObject } from "../../shared/wire/messages.ts";
import { attestKey, requireAttester } from "../sealed/attested_key.ts";
import { drawSecret } from "../server/entropy.ts";
import { type Credentialed, parseCredentialed } from "../server/fields.ts";
import { type RowKmsCode, rowKmsFailure, rowRejected, type RowSuspects } from "../server/kms_failure.ts";
import {
  type InitRequest,
  isSameRow,
  type MasterKeyRow,
  parseInitRequest,
  parsePublicInfoRequest,
  parseRewrapRequest,
  parseSignRequest,
  type PublicInfoRequest,
  type RewrapRequest,
} from "./master_key_requests.ts";
import { checkWaitedFor, NEVER } from "../server/waiting.ts";
import type { Feature, Ports, Routes } from "../server/feature.ts";

/** The measured configuration of the master key. */
export interface MasterKeyOptions {
  /** Rows of an earlier epoch are refused: the enclave cannot otherwise distinguish an old row from the newest. */
  readonly minEpoch: number;
}

/** The key in memory, and the row that it is stored as. */
interface HeldKey {
  readonly enclaveId: string;
  readonly key: KeyArn;
  readonly row: MasterKeyRow;
  readonly privateKey: SecretBytes;
  /** Whether this run made the key. */
  readonly from: KeyOrigin;
  /** SHA-256 of the document of the epoch before, where this run rewrapped the key and the request had it. */
  readonly previous?: Uint8Array<ArrayBuffer> | undefined;
}

const SUSPECTS: RowSuspects = {
  InvalidCiphertextException: "kms_encrypted_dek, or the enclave_id that it is bound to",
  IncorrectKeyException: "kms_key_id, or kms_encrypted_dek: the data key was wrapped by another KMS key",
};

/** Bytes. */
const BOOT_ID_LENGTH = 16;
/** Maximum number of waiting changes. */
const MAX_WAITING = 8;

function contextOf(enclaveId: string): EncryptionContext {
  return { app: "denclave", purpose: "master", enclave_id: enclaveId };
}

function bindingOf(enclaveId: string, key: KeyArn, row: Pick<MasterKeyRow, "publicKey" | "epoch">): Binding {
  return { purpose: "master", subject: enclaveId, key, publicPart: row.publicKey, epoch: row.epoch };
}

/** Holds the master key and signs with it. */
export class MasterKeyService implements Feature {
  readonly name = "master_key";
  readonly routes: Routes = {
    "master_key.init": { answer: (request, { signal }) => this.init(request, signal) },
    "master_key.verify": { answer: (request) => this.verify(request) },
    "master_key.rewrap": { answer: (request, { signal }) => this.rewrap(request, signal) },
    "master_key.public_info": { answer: (request) => this.publicInfo(request) },
    "master_key.sign": { answer: (request) => this.sign(request) },
  };
  readonly warnings = [];
  #options: MasterKeyOptions & Ports;
  #held: HeldKey | undefined;
  /** Sent in replies. It changes with each restart, so the parent can see that a row was opened again. */
  #bootId: string;
  /** `init` and `rewrap` run one at a time: if two arrive when there is no key, the first makes it and the second gets the same. */
  #changing: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #disposed = false;

  constructor(options: MasterKeyOptions, ports: Ports) {
    this.#options = { ...options, ...ports };
    this.#bootId = encodeHex(ports.entropy.random.bytes(BOOT_ID_LENGTH));
  }

  /** What `health` tells of it. */
  get state(): { readonly master_key: Readonly<Record<string, string | number | boolean>> } {
    const shared = { initialised: this.#held !== undefined, boot_id: this.#bootId };
    if (this.#held === undefined) return { master_key: shared };
    const { enclaveId, row } = this.#held;
    return { master_key: { ...shared, enclave_id: enclaveId, key_epoch: row.epoch } };
  }

  /**
   * Takes the stored key into use; without a row, makes a key. A repeated call without a row returns the row of the held key: the first reply
   * may have been lost, and there must not be two keys.
   *
   * @throws {WireError | EnclaveError} (or rejects); the held key is then unchanged.
   */
  init(request: WireObject, signal: AbortSignal = NEVER): Promise<Reply> {
    return this.#takeKey(parseCredentialed(request, parseInitRequest), signal);
  }

  async #takeKey(parsed: Credentialed<InitRequest>, signal: AbortSignal): Promise<Reply> {
    using credentials = parsed.credentials;
    const key = selectKey(this.#options.keys, parsed.selection);
    if (parsed.nonce !== undefined) requireAttester(this.#options.attester);
    return await this.#oneAtATime(signal, () => this.#init(parsed, { key, credentials, signal }));
  }

  /** Waiting changes hold credentials, and KMS may be slow: so only a few may wait, and only as long as their clients do. */
  #oneAtATime(signal: AbortSignal, run: () => Promise<Reply>): Promise<Reply> {
    if (this.#waiting >= MAX_WAITING) {
      throw new WireError("busy", `${MAX_WAITING} changes of the master key are waiting: try again later`);
    }
    this.#waiting++;
    const turn = this.#changing.then(() => {
      checkWaitedFor(signal);
      return run();
    }).finally(() => this.#waiting--);
    this.#changing = turn.catch(() => {});
    return turn;
  }

  async #init(
    parsed: InitRequest,
    { key, credentials, signal }: {
      readonly key: KeyArn;
      readonly credentials: Credentials;
      readonly signal: AbortSignal;
    },
  ): Promise<Reply> {
    const { enclaveId, row, nonce } = parsed;
    this.#refuseOther(parsed, key);
    const held = this.#held;
    if (row === undefined && held !== undefined) {
      return await this.#rowReply(held, { newlyGenerated: false, nonce });
    }
    // A row of the held key: the public keys are equal, so this run made that key if it made the held one.
    const from = held?.from ?? { origin: "opened" };
    const previous = row?.epoch === held?.row.epoch ? held?.previous : undefined;
    const fresh = row === undefined
      ? await this.#generate(enclaveId, key, credentials)
      : { enclaveId, key, row, from, previous, privateKey: await this.#open(parsed, row, key, credentials) };
    try {
      const reply = await this.#rowReply(fresh, { newlyGenerated: row === undefined, nonce });
      checkWaitedFor(signal);
      this.#hold(fresh);
      this.#options.log("info", "master_key_initialised", {
        enclave_id: enclaveId,
        epoch: fresh.row.epoch,
        key: key.arn,
        newly_generated: row === undefined,
      });
      return reply;
    } catch (thrown) {
      fresh.privateKey[Symbol.dispose]();
      throw thrown;
    }
  }

  #hold(fresh: HeldKey): void {
    if (this.#disposed) throw new WireError("internal_error", "The service is ending");
    const old = this.#held;
    this.#held = fresh;
    old?.privateKey[Symbol.dispose]();
  }

  /** Refuses to replace the held key: another enclave's id, another KMS key without a row, another public key, or an older row. */
  #refuseOther({ enclaveId, row }: InitRequest, key: KeyArn): void {
    if (row !== undefined) this.#checkEpoch(row);
    const held = this.#held;
    if (held === undefined) return;
    const conflict = held.enclaveId !== enclaveId
      ? `the key of enclave ${JSON.stringify(held.enclaveId)} is held`
      : row === undefined && held.key.arn !== key.arn
      ? `the key that is held is wrapped by ${held.key.arn}: rewrap it`
      : row === undefined
      ? undefined
      : !timingSafeEqual(row.publicKey, held.row.publicKey)
      ? "another public key is held"
      : row.epoch < held.row.epoch
      ? `epoch ${held.row.epoch} of this key is held, and this row is of epoch ${row.epoch}`
      : row.epoch === held.row.epoch && !isSameRow(row, held.row)
      ? `another row of epoch ${row.epoch} is held`
      : undefined;
    if (conflict === undefined) return;
    throw new WireError(
      "master_key_conflict",
      `${conflict}: to change it, restart the enclave with the row that is wanted`,
    );
  }

  #checkEpoch({ epoch }: MasterKeyRow): void {
    const { minEpoch } = this.#options;
    if (epoch >= minEpoch) return;
    throw new WireError(
      "row_rejected",
      `Cannot trust key_epoch ${epoch}: at least ${minEpoch} is wanted here`,
    );
  }

  async #generate(enclaveId: string, key: KeyArn, credentials: Credentials): Promise<HeldKey> {
    using seed = await drawSecret(this.#options, "master", SEED_LENGTH);
    const privateKey = secretKeyOf(seed);
    try {
      const row = await this.#wrap(
        { enclaveId, key, epoch: this.#options.minEpoch, privateKey },
        credentials,
      );
      return {
        enclaveId,
        key,
        row,
        privateKey,
        from: { origin: "generated", generatedAt: this.#options.now() },
      };
    } catch (thrown) {
      privateKey[Symbol.dispose]();
      throw thrown;
    }
  }

  /** Seals a private key under a new data key. */
  async #wrap(
    { enclaveId, key, epoch, privateKey }: {
      readonly enclaveId: string;
      readonly key: KeyArn;
      readonly epoch: number;
      readonly privateKey: SecretBytes;
    },
    credentials: Credentials,
  ): Promise<MasterKeyRow> {
    const dataKey = await this.#options.kms.generateDataKey({ region: key.region, credentials }, {
      keyId: key.arn,
      keySpec: "AES_256",
      context: contextOf(enclaveId),
    }).catch((thrown) => this.#kmsFailed(thrown, "kms_generate_failed"));
    using plaintext = dataKey.plaintext;
    const publicKey = publicKeyOf(privateKey, "compressed");
    const binding = bindingOf(enclaveId, key, { publicKey, epoch });
    const { aead, entropy: { random } } = this.#options;
    const encryptedPrivateKey = sealPrivateKey(plaintext, privateKey, { binding, aead, random: random.fill });
    return { encryptedDataKey: dataKey.ciphertext, encryptedPrivateKey, publicKey, epoch };
  }

  /** Opens a row's private key, without taking it into use. */
  async #open(
    { enclaveId }: InitRequest,
    row: MasterKeyRow,
    key: KeyArn,
    credentials: Credentials,
  ): Promise<SecretBytes> {
    using dataKey = await this.#options.kms.decrypt({ region: key.region, credentials }, {
      ciphertext: row.encryptedDataKey,
      keyId: key.arn,
      context: contextOf(enclaveId),
    }).catch((thrown) => this.#kmsFailed(thrown, "kms_decrypt_failed"));
    if (dataKey.length !== KEY_LENGTH) {
      throw rowRejected(
        `kms_encrypted_dek: KMS opened it, but a data key has ${KEY_LENGTH} bytes, not ${dataKey.length}`,
      );
    }
    const privateKey = this.#openPrivateKey(dataKey, row, bindingOf(enclaveId, key, row));
    if (
      isSecretKey(privateKey.expose()) &&
      timingSafeEqual(publicKeyOf(privateKey, "compressed"), row.publicKey)
    ) {
      return privateKey;
    }
    privateKey[Symbol.dispose]();
    throw rowRejected("public_key: it is not the private key's");
  }

  #openPrivateKey(dataKey: SecretBytes, row: MasterKeyRow, binding: Binding): SecretBytes {
    const { aead, entropy: { random } } = this.#options;
    try {
      return openPrivateKey(dataKey, row.encryptedPrivateKey, { binding, aead, random: random.fill });
    } catch (thrown) {
      if (!(thrown instanceof OpenError)) throw thrown;
      throw rowRejected(
        "encrypted_private_key, or the public_key and key_epoch that it is bound to (kms_encrypted_dek, enclave_id and kms_key_id are right)",
      );
    }
  }

  /**
   * Opens a row and compares it with its public key, without taking it into use.
   *
   * @throws {WireError | EnclaveError} (or rejects)
   */
  verify(request: WireObject): Promise<Reply> {
    return this.#verify(parseCredentialed(request, parseInitRequest));
  }

  async #verify(parsed: Credentialed<InitRequest>): Promise<Reply> {
    using credentials = parsed.credentials;
    const { row } = parsed;
    if (row === undefined) {
      throw new WireError("missing_fields", "Field kms_encrypted_dek and the rest of the row are missing");
    }
    const key = selectKey(this.#options.keys, parsed.selection);
    this.#checkEpoch(row);
    const privateKey = await this.#open(parsed, row, key, credentials);
    privateKey[Symbol.dispose]();
    return {
      status: "ok",
      enclave_id: parsed.enclaveId,
      key_epoch: row.epoch,
      kms_key_id: key.arn,
      boot_id: this.#bootId,
    };
  }

  /**
   * The same private key under a new data key of another KMS key; the epoch grows by one. The old row still opens. Of two requests for
   * the same epoch, the second is refused.
   *
   * @throws {WireError | EnclaveError} (or rejects); the held key is then unchanged.
   */
  rewrap(request: WireObject, signal: AbortSignal = NEVER): Promise<Reply> {
    return this.#rewrap(parseCredentialed(request, parseRewrapRequest), signal);
  }

  async #rewrap(parsed: Credentialed<RewrapRequest>, signal: AbortSignal): Promise<Reply> {
    using credentials = parsed.credentials;
    const { selection, epoch, previous, nonce } = parsed;
    const key = selectKey(this.#options.keys, selection);
    if (nonce !== undefined) requireAttester(this.#options.attester);
    const from = epoch ?? this.#held?.row.epoch;
    return await this.#oneAtATime(signal, async () => {
      const { row: old, ...held } = this.#require(parsed.enclaveId);
      if (from !== undefined && from !== old.epoch) {
        throw new WireError(
          "master_key_conflict",
          `Cannot rewrap epoch ${from}: epoch ${old.epoch} is held. Look with public_info, then ask again`,
        );
      }
      const { enclaveId } = held;
      // A copy, since the old one is wiped when this one replaces it.
      const privateKey = held.privateKey.clone();
      try {
        const row = await this.#wrap({ enclaveId, key, epoch: old.epoch + 1, privateKey }, credentials);
        const fresh = { ...held, key, row, privateKey, previous };
        const reply = await this.#rowReply(fresh, { newlyGenerated: false, nonce });
        checkWaitedFor(signal);
        this.#hold(fresh);
        this.#options.log("info", "master_key_rewrapped", {
          enclave_id: enclaveId,
          epoch: row.epoch,
          key: key.arn,
        });
        return reply;
      } catch (thrown) {
        privateKey[Symbol.dispose]();
        throw thrown;
      }
    });
  }

  /** The public part of the key. @throws {WireError} (or rejects) */
  publicInfo(request: WireObject): Promise<Reply> {
    return this.#publicInfo(parsePublicInfoRequest(request));
  }

  async #publicInfo({ enclaveId, nonce }: PublicInfoRequest): Promise<Reply> {
    const held = this.#require(enclaveId);
    return {
      status: "ok",
      enclave_id: held.enclaveId,
      public_key: encodeBase64(held.row.publicKey),
      kms_key_id: held.key.arn,
      key_epoch: held.row.epoch,
      boot_id: this.#bootId,
      origin: held.from.origin,
      ...await this.#attested(held, nonce),
    };
  }

  /** Signs a digest. @throws {WireError} */
  sign(request: WireObject): Reply {
    const { enclaveId, digest, scheme } = parseSignRequest(request);
    const { privateKey, row } = this.#require(enclaveId);
    const shared = {
      status: "ok",
      scheme,
      public_key: encodeBase64(row.publicKey),
      key_epoch: row.epoch,
      boot_id: this.#bootId,
    } as const;
    if (scheme === "schnorr") {
      const auxiliary = this.#options.entropy.random.bytes(SCALAR_LENGTH);
      return { ...shared, signature: encodeBase64(signSchnorr(privateKey, digest, auxiliary)) };
    }
    const { r, s, yParity } = signDigest(privateKey, digest);
    const signature = new Uint8Array(r.length + s.length);
    signature.set(r);
    signature.set(s, r.length);
    return { ...shared, signature: encodeBase64(signature), recovery_id: yParity };
  }

  /** @param enclaveId undefined for whichever is held */
  #require(enclaveId: string | undefined): HeldKey {
    const held = this.#held;
    if (held === undefined) {
      throw new WireError("not_configured", "Send master_key.init first: there is no master key yet");
    }
    if (enclaveId === undefined || enclaveId === held.enclaveId) return held;
    throw new WireError(
      "master_key_conflict",
      `The key of enclave ${JSON.stringify(held.enclaveId)} is held`,
    );
  }

  async #attested(
    { enclaveId, key, row, from, previous }: HeldKey,
    nonce: Uint8Array<ArrayBuffer> | undefined,
  ): Promise<{ readonly attestation_document?: string }> {
    if (nonce === undefined) return {};
    const statement = {
      purpose: "master",
      subject: enclaveId,
      publicPart: row.publicKey,
      keyArn: key.arn,
      epoch: row.epoch,
      from,
      previous,
    } as const;
    return { attestation_document: await attestKey(this.#options, statement, nonce) };
  }

  async #rowReply(
    held: HeldKey,
    { newlyGenerated, nonce }: {
      readonly newlyGenerated: boolean;
      readonly nonce: Uint8Array<ArrayBuffer> | undefined;
    },
  ): Promise<Reply> {
    const { enclaveId, key, row } = held;
    return {
      status: "ok",
      enclave_id: enclaveId,
      kms_encrypted_dek: encodeBase64(row.encryptedDataKey),
      encrypted_private_key: encodeBase64(row.encryptedPrivateKey),
      public_key: encodeBase64(row.publicKey),
      kms_key_id: key.arn,
      key_epoch: row.epoch,
      newly_generated: newlyGenerated,
      origin: held.from.origin,
      boot_id: this.#bootId,
      ...await this.#attested(held, nonce),
    };
  }

  #kmsFailed(thrown: unknown, code: RowKmsCode): never {
    throw rowKmsFailure(thrown, code, {
      log: this.#options.log,
      event: "master_key_kms_failed",
      suspects: SUSPECTS,
    });
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#held?.privateKey[Symbol.dispose]();
    this.#held = undefined;
  }
}
