/**
 * A wallet service without a socket or a process, for tests: over the local KMS, or any other.
 *
 * @module
 */
import { NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import type { Kms } from "../../lib/enclave/kms/kms.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { observeDenials } from "../../lib/enclave/kms/observed.ts";
import type { Log } from "../../lib/shared/log.ts";
import { PreparedReply } from "../../lib/enclave/server/handler.ts";
import { createDispatcher } from "../../lib/enclave/server/dispatch.ts";
import { EventLog } from "../../lib/enclave/server/events.ts";
import { NO_CACHE } from "../../lib/enclave/wallet/key_cache.ts";
import { type MasterKeyOptions, MasterKeyService } from "../../lib/enclave/master_key/master_key.ts";
import { Metrics } from "../../lib/enclave/server/metrics.ts";
import { SessionKeyService } from "../../lib/enclave/session_key/session_key.ts";
import { type SealedOptions, SealedService } from "../../lib/enclave/sealed/sealed.ts";
import { OPEN_TO_ALL } from "../../lib/shared/cli/sealed_options.ts";
import { type WalletOptions, WalletService } from "../../lib/enclave/wallet/wallet.ts";
import { NO_GUARDS, type WalletGuards } from "../../lib/shared/cli/wallet_options.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";

/** Credentials as a request has them. The local KMS does not check credentials. */
export const CREDENTIAL = {
  AccessKeyId: "ASIATEST",
  SecretAccessKey: "NEVER-SEEN-SECRET",
  Token: "NEVER-SEEN-TOKEN",
};

/** Without allowed keys, rules, cache or NSM. */
export function plainWallet(kms: Kms, log: Log, options: Partial<WalletOptions> = {}): WalletService {
  return new WalletService({
    kms,
    log,
    keys: [],
    guards: NO_GUARDS,
    cache: NO_CACHE,
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: undefined,
    configurationHash: new Uint8Array(32),
    now: () => new Date(0),
    ...options,
  });
}

/** Without allowed keys or NSM. */
export function plainMasterKey(
  kms: Kms,
  log: Log,
  options: Partial<MasterKeyOptions> = {},
): MasterKeyService {
  return new MasterKeyService({
    kms,
    log,
    keys: [],
    minEpoch: 1,
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: undefined,
    configurationHash: new Uint8Array(32),
    now: () => new Date(0),
    ...options,
  });
}

/** Without NSM: nothing can be sealed for it. */
export function plainSealed(kms: Kms, log: Log, options: Partial<SealedOptions> = {}): SealedService {
  return new SealedService({
    ...OPEN_TO_ALL,
    kms,
    log,
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: undefined,
    configurationHash: new Uint8Array(32),
    now: () => new Date(0),
    monotonic: () => 0,
    ...options,
  });
}

/** Calls of a Kms, counted, and failing with what a test sets. */
export interface CountedKms extends Kms {
  readonly calls: { decrypt: number; generateDataKey: number };
  fail: Error | undefined;
}

/** Counts the calls of a backend, and lets a test make them fail. */
export function countCalls(kms: Kms, attested = kms.attested): CountedKms {
  const counted: CountedKms = {
    attested,
    calls: { decrypt: 0, generateDataKey: 0 },
    fail: undefined,
    decrypt: (access, request) => {
      counted.calls.decrypt++;
      return counted.fail === undefined ? kms.decrypt(access, request) : Promise.reject(counted.fail);
    },
    generateDataKey: (access, request) => {
      counted.calls.generateDataKey++;
      return counted.fail === undefined ? kms.generateDataKey(access, request) : Promise.reject(counted.fail);
    },
    health: () => kms.health(),
    [Symbol.asyncDispose]: () => kms[Symbol.asyncDispose](),
  };
  return counted;
}

/** KMS refuses, by this name. */
export class KmsRefusal extends EnclaveError {
  readonly kms: { readonly name: string; readonly message: string };
  constructor(name: string) {
    super(`KMS refused: ${name}`, { code: "sdk_kms_decrypt" });
    this.kms = { name, message: "in a test" };
  }
}

/** A wallet over the local KMS with two allowed keys, asked through the dispatcher. */
export async function walletRig(
  options:
    & Partial<WalletOptions>
    & { readonly guards?: WalletGuards; readonly attested?: boolean; readonly minEpoch?: number } = {},
) {
  const local = await LocalKms.open({ region: "us-east-1" });
  await local.createKey();
  const [firstArn = "", secondArn = ""] = local.keyArns;
  const kms = countCalls(local, options.attested ?? false);
  const events = new EventLog({ write: () => {}, level: "debug" });
  const keys = local.keyArns.map(parseKeyArn);
  const observed = observeDenials(kms, () => wallet.forgetKeys());
  const wallet = plainWallet(observed, events.log, { keys, ...options });
  const masterKey = plainMasterKey(observed, events.log, { keys, ...options });
  const session = new SessionKeyService({
    aead: NODE_AEAD,
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    kms: observed,
    keys,
    region: undefined,
    context: undefined,
    configureOnce: false,
    requireEpoch: false,
    workflow: (plaintext) => plaintext,
    log: events.log,
    now: () => new Date(0),
  });
  const handler = createDispatcher({
    session,
    wallet,
    masterKey,
    sealed: plainSealed(observed, events.log),
    random: HOST_RANDOM,
    kms: observed,
    events,
    metrics: new Metrics(),
    version: "test",
    warnings: [],
    serverStats: () => ({}),
    log: events.log,
    now: () => new Date(0),
  });
  const ask = async (request: WireObject) => {
    const { reply } = await handler(structuredClone(request));
    if (reply instanceof PreparedReply) throw new TypeError("the wallet's replies are objects");
    return reply as unknown as WireObject & { content: Record<string, string>; msg: string; details: string };
  };
  const generate = async (name: string, more: WireObject = {}) => {
    const reply = await ask({
      apiRequest: "generateAccount",
      credential: CREDENTIAL,
      name,
      key_id: firstArn,
      ...more,
    });
    return reply;
  };
  /** A sign request for a new account. */
  const account = async (name: string): Promise<WireObject> => {
    const { content } = await generate(name);
    const { address, encryptedPrivateKey, encryptedDataKey } = content;
    return {
      apiRequest: "sign",
      credential: CREDENTIAL,
      key_id: firstArn,
      name,
      address,
      encryptedPrivateKey,
      encryptedDataKey,
    };
  };
  const end = () => {
    wallet[Symbol.dispose]();
    masterKey[Symbol.dispose]();
  };
  return {
    local,
    kms,
    wallet,
    masterKey,
    events,
    handler,
    ask,
    generate,
    account,
    firstArn,
    secondArn,
    [Symbol.dispose]: end,
  };
}
