/**
 * The master key: one secp256k1 key per service, made in the enclave and held in memory. The parent stores it sealed, and the enclave opens it
 * again after a restart.
 *
 * `master_key.sign` signs any digest for whoever can reach the vsock port: the enclave cannot know what was hashed.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { timingSafeEqual } from "@std/crypto";
import type { Credentials } from "../../shared/aws/credentials.ts";
import type { KeyOrigin } from "../../shared/attestation/statement.ts";
import {
  publicKeyOf,
  SCALAR_LENGTH,
  secretKeyOf,
  SEED_LENGTH,
  signDigest,
  signSchnorr,
} from "../../shared/crypto/secp256k1.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { selectKey } from "../../shared/aws/key_arn.ts";
import { readFields, type Values } from "../../shared/wire/fields.ts";
import { type Reply, WireError } from "../../shared/wire/messages.ts";
import { MASTER_KEY_SIGN, PUBLIC_INFO } from "../../shared/wire/requests.ts";
import { checkNonce } from "../server/attestation.ts";
import { drawSecret } from "../server/entropy.ts";
import { credentialedRoute } from "../server/fields.ts";
import { checkWaitedFor } from "../server/waiting.ts";
import { rowRejected, type WrappedKey, type WrappedKeyKind, WrappedKeys } from "../server/wrapped_key.ts";
import {
  type InitRequest,
  parseInitRequest,
  parseRewrapRequest,
  type RewrapRequest,
  type StoredRow,
} from "./master_key_requests.ts";
import type { ReceiptService } from "../receipts/receipts.ts";
import type { Call, Feature, Ports, Routes } from "../server/feature.ts";

/** The measured configuration of the master key. */
export interface MasterKeyOptions {
  /** Rows of an earlier epoch are refused: the enclave cannot otherwise distinguish an old row from the newest. */
  readonly minEpoch: number;
  readonly receipts: Pick<ReceiptService, "begin">;
}

/** The key in memory, and the row that it is stored as. */
interface HeldKey {
  readonly row: WrappedKey & StoredRow;
  readonly privateKey: SecretBytes;
  /** Whether this run made the key. */
  readonly from: KeyOrigin;
  /** SHA-256 of the document of the epoch before, where this run rewrapped the key and the request had it. */
  readonly previous?: Uint8Array<ArrayBuffer> | undefined;
}

/** What a change makes. */
interface Change {
  /** The new key, or the one that is held. */
  readonly held: HeldKey;
  /** For the log. */
  readonly event: string;
  readonly newly_generated?: boolean;
}

type Nonce = Uint8Array<ArrayBuffer> | undefined;

const KIND: WrappedKeyKind = {
  purpose: "master",
  subject: "enclave_id",
  dataKey: "kms_encrypted_dek",
  privateKey: "encrypted_private_key",
  keyId: "kms_key_id",
  publicPart: "public_key",
  bound: "public_key and key_epoch",
  publicPartOf: (privateKey) => publicKeyOf(privateKey, "compressed"),
  event: "master_key_kms_failed",
};

/** Maximum number of waiting changes. */
const MAX_WAITING = 8;

function isSameRow(a: StoredRow, b: StoredRow): boolean {
  return a.epoch === b.epoch && timingSafeEqual(a.publicPart, b.publicPart) &&
    timingSafeEqual(a.encryptedPrivateKey, b.encryptedPrivateKey) &&
    timingSafeEqual(a.encryptedDataKey, b.encryptedDataKey);
}

function conflicting(why: string): WireError {
  return new WireError("master_key_conflict", why);
}

/** Holds the master key and signs with it. */
export class MasterKeyService implements Feature {
  readonly name = "master_key";
  readonly routes: Routes = {
    "master_key.init": credentialedRoute(parseInitRequest, (...given) => this.#init(...given)),
    "master_key.verify": credentialedRoute(parseInitRequest, (row, access) => this.#verify(row, access)),
    "master_key.rewrap": credentialedRoute(parseRewrapRequest, (...given) => this.#rewrap(...given)),
    "master_key.public_info": { answer: (request) => this.#publicInfo(readFields(request, PUBLIC_INFO)) },
    "master_key.sign": {
      answer: (request, call) => this.#sign(readFields(request, MASTER_KEY_SIGN), call),
    },
  };
  readonly warnings = [];
  #options: MasterKeyOptions & Ports;
  #keys: WrappedKeys;
  #held: HeldKey | undefined;
  /** `init` and `rewrap` run one at a time: if two arrive when there is no key, the first makes it and the second gets the same. */
  #changing: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #disposed = false;

  constructor(options: MasterKeyOptions, ports: Ports) {
    this.#options = { ...options, ...ports };
    this.#keys = new WrappedKeys(KIND, ports);
  }

  /** What `health` tells of it. */
  get state() {
    const row = this.#held?.row;
    const held = row && { enclave_id: row.subject, key_epoch: row.epoch };
    return { master_key: { initialised: row !== undefined, boot_id: this.#options.bootId, ...held } };
  }

  /**
   * Takes the stored key into use; without a row, makes a key. A repeated call without a row returns the row of the held key: the first reply
   * may have been lost, and there must not be two keys.
   *
   * @throws {WireError | EnclaveError} (rejects); the held key is then unchanged.
   */
  async #init(parsed: InitRequest, credentials: Credentials, { signal }: Call): Promise<Reply> {
    const { enclave_id: subject, nonce } = parsed;
    const key = selectKey(this.#options.keys, parsed.selection);
    checkNonce(this.#options, nonce);
    const row = parsed.row === undefined ? undefined : { ...parsed.row, subject, key };
    return await this.#change({ signal, nonce }, async (unused: DisposableStack): Promise<Change> => {
      this.#refuseOther(row, { subject, key });
      const held = this.#held;
      const about = { event: "master_key_initialised", newly_generated: row === undefined };
      if (row !== undefined) {
        const privateKey = unused.use(await this.#keys.open(row, credentials));
        // Of the held key, if there is one: the public keys are equal, so both have the same origin.
        const from = held?.from ?? { origin: "opened" };
        const previous = row.epoch === held?.row.epoch ? held.previous : undefined;
        return { held: { row, privateKey, from, previous }, ...about };
      }
      if (held !== undefined) return { held, ...about, newly_generated: false };
      using seed = await drawSecret(this.#options, "master", SEED_LENGTH);
      const privateKey = unused.use(secretKeyOf(seed));
      const publicPart = KIND.publicPartOf(privateKey);
      const identity = { subject, key, publicPart, epoch: this.#options.minEpoch };
      const made = await this.#keys.wrap(identity, { privateKey, credentials });
      const from = { origin: "generated", generatedAt: this.#options.now() } as const;
      return { held: { row: made, privateKey, from }, ...about };
    });
  }

  /**
   * Takes the key that `make` gives into use, once the reply is made and if the client still waits. Waiting
   * changes hold credentials, and KMS may be slow: so only a few may wait, and as long as their clients do.
   *
   * @param make pushes a key that it makes on the stack, which wipes it unless it is taken
   */
  #change(
    { signal, nonce }: { readonly signal: AbortSignal; readonly nonce: Nonce },
    make: (unused: DisposableStack) => Promise<Change>,
  ): Promise<Reply> {
    if (this.#waiting >= MAX_WAITING) {
      throw new WireError("busy", `${MAX_WAITING} changes of the master key are waiting: try again later`);
    }
    this.#waiting++;
    const turn = this.#changing.then(async () => {
      checkWaitedFor(signal);
      using unused = new DisposableStack();
      const { held, event, ...more } = await make(unused);
      const fields = {
        kms_encrypted_dek: encodeBase64(held.row.encryptedDataKey),
        encrypted_private_key: encodeBase64(held.row.encryptedPrivateKey),
        newly_generated: more.newly_generated ?? false,
      };
      const reply = await this.#reply(held, nonce, fields);
      if (held === this.#held) return reply;
      checkWaitedFor(signal);
      if (this.#disposed) throw new WireError("internal_error", "The service is ending");
      this.#held?.privateKey[Symbol.dispose]();
      this.#held = held;
      unused.move();
      const { subject, epoch, key } = held.row;
      this.#options.log("info", event, { enclave_id: subject, epoch, key: key.arn, ...more });
      return reply;
    }).finally(() => this.#waiting--);
    this.#changing = turn.catch(() => {});
    return turn;
  }

  /** Refuses to replace the held key: another enclave's id, another KMS key without a row, another public key, or an older row. */
  #refuseOther(row: StoredRow | undefined, { subject, key }: Pick<WrappedKey, "subject" | "key">): void {
    if (row !== undefined) this.#checkEpoch(row);
    if (this.#held === undefined) return;
    const held = this.#held.row;
    const conflict = held.subject !== subject
      ? `the key of enclave ${JSON.stringify(held.subject)} is held`
      : row === undefined && held.key.arn !== key.arn
      ? `the key that is held is wrapped by ${held.key.arn}: rewrap it`
      : row === undefined
      ? undefined
      : !timingSafeEqual(row.publicPart, held.publicPart)
      ? "another public key is held"
      : row.epoch < held.epoch
      ? `epoch ${held.epoch} of this key is held, and this row is of epoch ${row.epoch}`
      : row.epoch === held.epoch && !isSameRow(row, held)
      ? `another row of epoch ${row.epoch} is held`
      : undefined;
    if (conflict === undefined) return;
    throw conflicting(`${conflict}: to change it, restart the enclave with the row that is wanted`);
  }

  #checkEpoch({ epoch }: StoredRow): void {
    const { minEpoch } = this.#options;
    if (epoch >= minEpoch) return;
    throw rowRejected(`key_epoch ${epoch}: at least ${minEpoch} is wanted here`);
  }

  /**
   * Opens a row and compares it with its public key, without taking it into use.
   *
   * @throws {WireError | EnclaveError} (rejects)
   */
  async #verify(parsed: InitRequest, credentials: Credentials): Promise<Reply> {
    const { enclave_id, row } = parsed;
    if (row === undefined) {
      throw new WireError("missing_fields", "Field kms_encrypted_dek and the rest of the row are missing");
    }
    const { keys, bootId: boot_id } = this.#options;
    const key = selectKey(keys, parsed.selection);
    this.#checkEpoch(row);
    using _opened = await this.#keys.open({ ...row, subject: enclave_id, key }, credentials);
    return { status: "ok", enclave_id, key_epoch: row.epoch, kms_key_id: key.arn, boot_id };
  }

  /**
   * The same private key under a new data key of another KMS key; the epoch grows by one. The old row still opens. Of two requests for
   * the same epoch, the second is refused.
   *
   * @throws {WireError | EnclaveError} (rejects); the held key is then unchanged.
   */
  async #rewrap(parsed: RewrapRequest, credentials: Credentials, { signal }: Call): Promise<Reply> {
    const { selection, previous_document_sha256: previous, nonce } = parsed;
    const key = selectKey(this.#options.keys, selection);
    checkNonce(this.#options, nonce);
    const from = parsed.key_epoch ?? this.#held?.row.epoch;
    return await this.#change({ signal, nonce }, async (unused: DisposableStack): Promise<Change> => {
      const held = this.#require(parsed.enclave_id);
      const { subject, publicPart, epoch: last } = held.row;
      if (from !== undefined && from !== last) {
        const why = `epoch ${last} is held. Look with public_info, then ask again`;
        throw conflicting(`Cannot rewrap epoch ${from}: ${why}`);
      }
      // A copy, since the old one is wiped when this one replaces it.
      const privateKey = unused.use(held.privateKey.clone());
      const identity = { subject, key, publicPart, epoch: last + 1 };
      const row = await this.#keys.wrap(identity, { privateKey, credentials });
      return { held: { ...held, row, privateKey, previous }, event: "master_key_rewrapped" };
    });
  }

  /** The public part of the key. @throws {WireError} */
  #publicInfo({ enclave_id, nonce }: Values<typeof PUBLIC_INFO>): Promise<Reply> {
    return this.#reply(this.#require(enclave_id), nonce);
  }

  /** Signs a digest, and the receipt if one is asked for. @throws {WireError} (or rejects) */
  #sign(request: Values<typeof MASTER_KEY_SIGN>, call: Call): Reply | Promise<Reply> {
    const { digest, receipt: nonce } = request;
    const { signature, ...reply } = this.#signDigest(request);
    const signed = { ...reply, signature: encodeBase64(signature) };
    if (nonce === undefined) return signed;
    const about = { type: "master_key.sign", nonce, blob: digest, input: digest } as const;
    return this.#options.receipts.begin(about, call)
      .then((begun) => begun.finish("ok", signature).finally(() => begun[Symbol.dispose]()))
      .then((receipt) => ({ ...signed, receipt }));
  }

  #signDigest({ enclave_id, digest, scheme = "ecdsa" }: Values<typeof MASTER_KEY_SIGN>) {
    const { privateKey, row } = this.#require(enclave_id);
    const shared = {
      status: "ok",
      scheme,
      public_key: encodeBase64(row.publicPart),
      key_epoch: row.epoch,
      boot_id: this.#options.bootId,
    } as const;
    if (scheme === "schnorr") {
      const auxiliary = this.#options.entropy.random.bytes(SCALAR_LENGTH);
      return { ...shared, signature: signSchnorr(privateKey, digest, auxiliary) };
    }
    const { r, s, yParity } = signDigest(privateKey, digest);
    return { ...shared, signature: new Uint8Array([...r, ...s]), recovery_id: yParity };
  }

  /** @param enclaveId undefined for whichever is held */
  #require(enclaveId: string | undefined): HeldKey {
    const held = this.#held;
    if (held === undefined) {
      throw new WireError("not_configured", "Send master_key.init first: there is no master key yet");
    }
    if (enclaveId === undefined || enclaveId === held.row.subject) return held;
    throw conflicting(`The key of enclave ${JSON.stringify(held.row.subject)} is held`);
  }

  async #reply({ row, from, previous }: HeldKey, nonce: Nonce, more: object = {}): Promise<Reply> {
    return {
      status: "ok",
      enclave_id: row.subject,
      public_key: encodeBase64(row.publicPart),
      kms_key_id: row.key.arn,
      key_epoch: row.epoch,
      boot_id: this.#options.bootId,
      origin: from.origin,
      ...more,
      ...(nonce && { attestation_document: await this.#keys.attest(row, { from, previous, nonce }) }),
    };
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#held?.privateKey[Symbol.dispose]();
    this.#held = undefined;
  }
}
