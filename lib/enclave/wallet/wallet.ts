/**
 * The wallet: Ethereum accounts that are made and used in the enclave. `generateAccount` returns a row to store: the private key sealed under a
 * data key that KMS wrapped; `sign` takes the row as input. The enclave stores nothing, except an optional cache of opened keys.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { timingSafeEqual } from "@std/crypto";
import type { Credentials } from "../../shared/aws/credentials.ts";
import {
  type Binding,
  BOUND_KEY_VERSION,
  openPrivateKey,
  sealPrivateKey,
} from "../../shared/crypto/bound_key.ts";
import { PayloadError } from "../../shared/crypto/payload_error.ts";
import { addressOf } from "../../shared/crypto/ethereum_address.ts";
import { type Payload, type SignedPayload, signPayload } from "./ethereum/payload.ts";
import { KEY_LENGTH, OpenError } from "../../shared/crypto/sealing.ts";
import { isSecretKey, secretKeyOf, SEED_LENGTH } from "../../shared/crypto/secp256k1.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { type KeyArn, selectKey } from "../../shared/aws/key_arn.ts";
import type { EncryptionContext, KmsAccess } from "../kms/kms.ts";
import {
  type ErrorReply,
  errorReply,
  type WalletReply,
  WireError,
  type WireObject,
} from "../../shared/wire/messages.ts";
import { attestKey, requireAttester } from "../sealed/attested_key.ts";
import { drawSecret } from "../server/entropy.ts";
import { type Credentialed, parseCredentialed } from "../server/fields.ts";
import { cacheId, KeyCache } from "./key_cache.ts";
import { type RowKmsCode, rowKmsFailure, rowRejected, type RowSuspects } from "../server/kms_failure.ts";
import { createYield, NEVER } from "../server/waiting.ts";
import type { Feature, Ports, Routes } from "../server/feature.ts";
import { checkGuards, isGuarded, likelyAllowances } from "./wallet_guards.ts";
import type { WalletGuards } from "../../shared/cli/wallet_options.ts";
import {
  type AccountRow,
  type GenerateRequest,
  ofItem,
  parseGenerateRequest,
  parseItems,
  parseSignRequest,
  type SignRequest,
} from "./wallet_requests.ts";

/** The measured configuration of the wallet. */
export interface WalletOptions {
  readonly guards: WalletGuards;
  /** The cache of opened keys: number and time. */
  readonly cache: { readonly entries: number; readonly maxAgeMs: number };
}

/** Maximum number of batches at a time. */
const MAX_BATCHES = 4;

function contextOf(name: string): EncryptionContext {
  return { app: "denclave", purpose: "wallet", name };
}

/** Makes accounts and signs with them. */
export class WalletService implements Feature {
  readonly name = "wallet";
  readonly apiRoutes: Routes = {
    generateAccount: { answer: (request) => this.generateAccount(request) },
    sign: { answer: (request, { signal }) => this.sign(request, signal), isLarge: true },
  };
  #options: WalletOptions & Ports;
  #cache: KeyCache;
  #batches = 0;

  constructor(options: WalletOptions, ports: Ports) {
    this.#options = { ...options, ...ports };
    this.#cache = new KeyCache(options.cache);
  }

  /** What `health` tells of it. */
  get state(): {
    readonly wallet: {
      readonly guarded: boolean;
      readonly cached_keys?: number;
      readonly cache_hits?: number;
    };
  } {
    const guarded = isGuarded(this.#options.guards);
    if (!this.#cache.enabled) return { wallet: { guarded } };
    const { entries, hits } = this.#cache.stats;
    return { wallet: { guarded, cached_keys: entries, cache_hits: hits } };
  }

  get warnings(): readonly string[] {
    const allowances = likelyAllowances(this.#options.guards);
    if (allowances.length === 0) return [];
    return [
      `typed data that looks like an allowance is allowed, and its spender and amount are not checked: ${
        allowances.join(", ")
      }`,
    ];
  }

  replyTo(thrown: unknown): ErrorReply | undefined {
    return thrown instanceof PayloadError ? errorReply("invalid_payload", thrown.message) : undefined;
  }

  /** Wipes cached keys. */
  forget(): void {
    this.#cache.clear();
  }

  /**
   * Makes an account. The private key leaves the enclave only sealed.
   *
   * @throws {WireError | EnclaveError} (or rejects)
   */
  generateAccount(request: WireObject): Promise<WalletReply> {
    return this.#generateAccount(parseCredentialed(request, parseGenerateRequest));
  }

  async #generateAccount(parsed: Credentialed<GenerateRequest>): Promise<WalletReply> {
    const { kms, keys, log } = this.#options;
    using credentials = parsed.credentials;
    const { name, selection, nonce } = parsed;
    const key = selectKey(keys, selection);
    if (nonce !== undefined) requireAttester(this.#options.attester);
    using seed = await drawSecret(this.#options, "wallet", SEED_LENGTH);

    const dataKey = await kms.generateDataKey({ region: key.region, credentials }, {
      keyId: key.arn,
      keySpec: "AES_256",
      context: contextOf(name),
    }).catch((thrown) => this.#kmsFailed(thrown, "kms_generate_failed"));
    using plaintext = dataKey.plaintext;
    using privateKey = secretKeyOf(seed);
    const address = addressOf(privateKey);
    const binding: Binding = { purpose: "wallet", subject: name, key, publicPart: address.bytes };
    const { aead, entropy: { random } } = this.#options;
    const sealed = sealPrivateKey(plaintext, privateKey, { binding, aead, random: random.fill });
    const document = nonce === undefined
      ? {}
      : { attestationDocument: await this.#attestAddress(name, key, address.bytes, nonce) };
    log("info", "account_generated", { name, key: key.arn });
    return {
      apiResponse: "generateResponse",
      content: {
        encryptedPrivateKey: encodeBase64(sealed),
        address: address.text,
        encryptedDataKey: encodeBase64(dataKey.ciphertext),
        name,
        keyId: key.arn,
        version: BOUND_KEY_VERSION,
        ...document,
      },
    };
  }

  async #attestAddress(
    subject: string,
    key: KeyArn,
    publicPart: Uint8Array,
    nonce: Uint8Array<ArrayBuffer>,
  ): Promise<string> {
    const from = { origin: "generated", generatedAt: this.#options.now() } as const;
    const statement = { purpose: "wallet", subject, publicPart, keyArn: key.arn, epoch: 0, from } as const;
    return await attestKey(this.#options, statement, nonce);
  }

  /**
   * Signs with an account's key.
   *
   * @param signal ends a batch whose client no longer waits
   * @throws {WireError | EnclaveError | PayloadError} (or rejects)
   */
  sign(request: WireObject, signal: AbortSignal = NEVER): Promise<WalletReply> {
    return this.#sign(parseCredentialed(request, parseSignRequest), createYield(signal));
  }

  async #sign(parsed: Credentialed<SignRequest>, yieldTurn: () => Promise<void>): Promise<WalletReply> {
    using credentials = parsed.credentials;
    const { address, payload } = parsed;
    if (payload !== undefined) {
      const [signed] = await this.#signAll(parsed, [payload], { credentials, yieldTurn });
      return { apiResponse: "signResponse", content: { address: address.text, ...signed } };
    }
    // A message can hold a thousand payloads, so only a few batches run at a time.
    if (this.#batches >= MAX_BATCHES) {
      throw new WireError("busy", `${MAX_BATCHES} batches are being signed: wait`);
    }
    this.#batches++;
    try {
      const payloads = await parseItems(parsed, yieldTurn);
      const signatures = await this.#signAll(parsed, payloads, { credentials, yieldTurn });
      return { apiResponse: "signResponse", content: { address: address.text, signatures } };
    } finally {
      this.#batches--;
    }
  }

  /** Signs payloads with the key of one row. */
  async #signAll(
    row: SignRequest,
    payloads: readonly Payload[],
    { credentials, yieldTurn }: {
      readonly credentials: Credentials;
      readonly yieldTurn: () => Promise<void>;
    },
  ): Promise<readonly SignedPayload[]> {
    const key = selectKey(this.#options.keys, row.selection);
    const inItem = <T>(index: number, run: () => T) => row.payload === undefined ? ofItem(index, run) : run();
    for (const [index, payload] of payloads.entries()) {
      inItem(index, () => checkGuards(this.#options.guards, payload));
    }
    using privateKey = await this.#openKey(row, key, credentials);
    const signed: SignedPayload[] = [];
    for (const [index, payload] of payloads.entries()) {
      await yieldTurn();
      signed.push(inItem(index, () => signPayload(payload, privateKey)));
    }
    return signed;
  }

  /** The row's private key, from the cache or by KMS. */
  async #openKey(row: AccountRow, key: KeyArn, credentials: Credentials): Promise<SecretBytes> {
    if (!this.#cache.enabled) return await this.#releaseKey(row, { region: key.region, credentials }, key);
    const id = cacheId([
      credentials.fingerprint(key.region),
      key.arn,
      row.name,
      row.address.bytes,
      row.encryptedPrivateKey,
      row.encryptedDataKey,
      BOUND_KEY_VERSION,
    ]);
    const cached = this.#cache.get(id);
    if (cached !== undefined) return cached;
    const { generation } = this.#cache;
    const opened = await this.#releaseKey(row, { region: key.region, credentials }, key);
    this.#cache.put(id, opened, generation);
    return opened;
  }

  /** Has KMS open the data key, opens the private key with it, and compares it with the address. */
  async #releaseKey(row: AccountRow, access: KmsAccess, key: KeyArn): Promise<SecretBytes> {
    using dataKey = await this.#options.kms.decrypt(access, {
      ciphertext: row.encryptedDataKey,
      keyId: key.arn,
      context: contextOf(row.name),
    }).catch((thrown) => this.#kmsFailed(thrown, "kms_decrypt_failed"));
    if (dataKey.length !== KEY_LENGTH) {
      throw rowRejected(
        `encryptedDataKey: KMS opened it, but a data key has ${KEY_LENGTH} bytes, not ${dataKey.length}`,
      );
    }
    const { name, address } = row;
    const binding: Binding = { purpose: "wallet", subject: name, key, publicPart: address.bytes };
    const privateKey = this.#openPrivateKey(dataKey, row.encryptedPrivateKey, binding);
    // The row opened, so it was sealed with this address; the key is still compared with it.
    if (isSecretKey(privateKey.expose()) && timingSafeEqual(addressOf(privateKey).bytes, address.bytes)) {
      return privateKey;
    }
    privateKey[Symbol.dispose]();
    throw rowRejected("address: it is not the private key's");
  }

  #openPrivateKey(dataKey: SecretBytes, blob: Uint8Array<ArrayBuffer>, binding: Binding): SecretBytes {
    const { aead, entropy: { random } } = this.#options;
    try {
      return openPrivateKey(dataKey, blob, { binding, aead, random: random.fill });
    } catch (thrown) {
      if (!(thrown instanceof OpenError)) throw thrown;
      throw rowRejected(
        "encryptedPrivateKey, or the address that it is bound to (encryptedDataKey, name and key_id are right)",
      );
    }
  }

  #kmsFailed(thrown: unknown, code: RowKmsCode): never {
    throw rowKmsFailure(thrown, code, {
      log: this.#options.log,
      event: "wallet_kms_failed",
      suspects: SUSPECTS,
    });
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }
}

const SUSPECTS: RowSuspects = {
  InvalidCiphertextException: "encryptedDataKey, or the name that it is bound to",
  IncorrectKeyException: "key_id, or encryptedDataKey: the data key was wrapped by another KMS key",
};
