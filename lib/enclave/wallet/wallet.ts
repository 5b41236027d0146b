/**
 * The wallet: Ethereum accounts that are made and used in the enclave. `generateAccount` returns a row to store: the private key sealed under a
 * data key that KMS wrapped; `sign` takes the row as input, `rewrapAccount` moves it to another KMS key. The
 * enclave stores nothing, except an optional cache of opened keys.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import type { KeyStatement } from "../../shared/attestation/statement.ts";
import type { Credentials } from "../../shared/aws/credentials.ts";
import { BOUND_KEY_VERSION } from "../../shared/crypto/bound_key.ts";
import { addressOf } from "../../shared/crypto/ethereum_address.ts";
import { signPayload } from "./ethereum/payload.ts";
import { secretKeyOf, SEED_LENGTH } from "../../shared/crypto/secp256k1.ts";
import { type KeyArn, selectKey } from "../../shared/aws/key_arn.ts";
import { type WalletReply, WireError } from "../../shared/wire/messages.ts";
import { checkNonce } from "../server/attestation.ts";
import { drawSecret } from "../server/entropy.ts";
import type { Call, Feature, Ports, Routes } from "../server/feature.ts";
import { credentialedRoute } from "../server/fields.ts";
import { createYield } from "../server/waiting.ts";
import { type WrappedKey, type WrappedKeyKind, WrappedKeys } from "../server/wrapped_key.ts";
import { cacheId, KeyCache } from "./key_cache.ts";
import { checkGuards, isGuarded, likelyAllowances } from "./wallet_guards.ts";
import type { WalletGuards } from "../../shared/cli/wallet_options.ts";
import {
  type AccountRow,
  type GenerateRequest,
  ofItem,
  parseGenerateRequest,
  parseItems,
  parseRewrapRequest,
  parseSignRequest,
  type RewrapRequest,
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

const KIND: WrappedKeyKind = {
  purpose: "wallet",
  subject: "name",
  dataKey: "encryptedDataKey",
  privateKey: "encryptedPrivateKey",
  keyId: "key_id",
  publicPart: "address",
  bound: "address",
  publicPartOf: (privateKey) => addressOf(privateKey).bytes,
  event: "wallet_kms_failed",
};

function rowOf({ name: subject, address, ...row }: AccountRow, key: KeyArn): WrappedKey {
  const { encryptedDataKey, encryptedPrivateKey } = row;
  return { subject, key, publicPart: address.bytes, encryptedDataKey, encryptedPrivateKey };
}

/** Makes accounts, signs with them, and moves them to another KMS key. */
export class WalletService implements Feature {
  readonly name = "wallet";
  readonly apiRoutes: Routes = {
    generateAccount: credentialedRoute(parseGenerateRequest, (name, access) => this.#generate(name, access)),
    rewrapAccount: credentialedRoute(parseRewrapRequest, (row, access) => this.#rewrap(row, access)),
    sign: { ...credentialedRoute(parseSignRequest, (...given) => this.#sign(...given)), isLarge: true },
  };
  #options: WalletOptions & Ports;
  #keys: WrappedKeys;
  #cache: KeyCache;
  #batches = 0;

  constructor(options: WalletOptions, ports: Ports) {
    this.#options = { ...options, ...ports };
    this.#keys = new WrappedKeys(KIND, ports);
    this.#cache = new KeyCache(options.cache);
  }

  /** What `health` tells of it. */
  get state() {
    const { entries, hits } = this.#cache.stats;
    const cached = this.#cache.enabled ? { cached_keys: entries, cache_hits: hits } : {};
    return { wallet: { guarded: isGuarded(this.#options.guards), ...cached } };
  }

  get warnings(): readonly string[] {
    const allowances = likelyAllowances(this.#options.guards).join(", ");
    const warning =
      "typed data that looks like an allowance is allowed, and its spender and amount are not checked";
    return allowances === "" ? [] : [`${warning}: ${allowances}`];
  }

  /** Wipes cached keys. */
  forget(): void {
    this.#cache.clear();
  }

  /** Makes an account. The private key leaves the enclave only sealed. @throws {WireError | EnclaveError} */
  async #generate(parsed: GenerateRequest, credentials: Credentials): Promise<WalletReply> {
    const { name, nonce } = parsed;
    const key = selectKey(this.#options.keys, parsed.selection);
    checkNonce(this.#options, nonce);
    using seed = await drawSecret(this.#options, "wallet", SEED_LENGTH);
    using privateKey = secretKeyOf(seed);
    const { bytes: publicPart, text: address } = addressOf(privateKey);
    const row = await this.#keys.wrap({ subject: name, key, publicPart }, { privateKey, credentials });
    const from = { origin: "generated", generatedAt: this.#options.now() } as const;
    const content = await this.#contentOf(row, { address, from, nonce });
    this.#options.log("info", "account_generated", { name, key: key.arn });
    return { apiResponse: "generateResponse", content };
  }

  /**
   * The same private key under a new data key of another KMS key. The old row still opens.
   *
   * @throws {WireError | EnclaveError} (rejects)
   */
  async #rewrap(parsed: RewrapRequest, credentials: Credentials): Promise<WalletReply> {
    const { keys } = this.#options;
    const { name: subject, address, nonce, previous_document_sha256: previous, new_key_id: to } = parsed;
    const key = selectKey(keys, { key: to, region: undefined, field: "new_key_id" });
    checkNonce(this.#options, nonce);
    const old = rowOf(parsed, selectKey(keys, parsed.selection));
    using privateKey = await this.#keys.open(old, credentials);
    const identity = { subject, key, publicPart: address.bytes };
    const row = await this.#keys.wrap(identity, { privateKey, credentials });
    // The parent replaces its only row: one that KMS wraps and does not unwrap would lose the account.
    using _opened = await this.#keys.open(row, credentials);
    this.forget();
    const from = { origin: "opened" } as const;
    const content = await this.#contentOf(row, { address: address.text, from, previous, nonce });
    this.#options.log("info", "account_rewrapped", { name: subject, key: key.arn, from: old.key.arn });
    return { apiResponse: "rewrapResponse", content };
  }

  /** A row as replies have it. */
  async #contentOf(
    row: WrappedKey,
    { address, nonce, ...how }: Pick<KeyStatement, "from" | "previous"> & {
      readonly address: string;
      readonly nonce: GenerateRequest["nonce"];
    },
  ) {
    return {
      encryptedPrivateKey: encodeBase64(row.encryptedPrivateKey),
      address,
      encryptedDataKey: encodeBase64(row.encryptedDataKey),
      name: row.subject,
      keyId: row.key.arn,
      version: BOUND_KEY_VERSION,
      ...(nonce && { attestationDocument: await this.#keys.attest(row, { ...how, nonce }) }),
    };
  }

  /**
   * Signs with an account's key.
   *
   * @param signal ends a batch whose client no longer waits
   * @throws {WireError | EnclaveError | PayloadError} (rejects)
   */
  async #sign(parsed: SignRequest, credentials: Credentials, { signal }: Call): Promise<WalletReply> {
    const { address, payload } = parsed;
    const isBatch = payload === undefined;
    const yieldTurn = createYield(signal);
    using end = new DisposableStack();
    if (isBatch) {
      // A message can hold a thousand payloads, so only a few batches run at a time.
      if (this.#batches >= MAX_BATCHES) {
        throw new WireError("busy", `${MAX_BATCHES} batches are being signed: wait`);
      }
      this.#batches++;
      end.defer(() => this.#batches--);
    }
    const payloads = isBatch ? await parseItems(parsed, yieldTurn) : [payload];
    const row = rowOf(parsed, selectKey(this.#options.keys, parsed.selection));
    const inItem = <T>(index: number, run: () => T) => isBatch ? ofItem(index, run) : run();
    for (const [index, payload] of payloads.entries()) {
      inItem(index, () => checkGuards(this.#options.guards, payload));
    }
    const id = cacheId([
      credentials.fingerprint(row.key.region),
      row.key.arn,
      row.subject,
      row.publicPart,
      row.encryptedPrivateKey,
      row.encryptedDataKey,
      BOUND_KEY_VERSION,
    ]);
    using privateKey = await this.#cache.use(id, () => this.#keys.open(row, credentials));
    const signatures: ReturnType<typeof signPayload>[] = [];
    for (const [index, payload] of payloads.entries()) {
      await yieldTurn();
      signatures.push(inItem(index, () => signPayload(payload, privateKey)));
    }
    const content = { address: address.text, ...(isBatch ? { signatures } : signatures[0]) };
    return { apiResponse: "signResponse", content };
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }
}
