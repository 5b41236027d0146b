/**
 * A wallet service without a socket or a process, for tests: over the local KMS, or any other.
 *
 * @module
 */
import { EnclaveError } from "../../lib/shared/errors.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import type { Kms } from "../../lib/enclave/kms/kms.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { inProcess } from "../../lib/dev/in_process_workflow.ts";
import { observeDenials } from "../../lib/enclave/kms/observed.ts";
import { type Call, type Ports, PreparedReply } from "../../lib/enclave/server/feature.ts";
import { type SessionKeyOptions, SessionKeyService } from "../../lib/enclave/session_key/session_key.ts";
import { NEVER } from "../../lib/enclave/server/waiting.ts";
import { ReceiptService } from "../../lib/enclave/receipts/receipts.ts";
import { testHandler, testPorts } from "./ports.ts";
import { EventLog } from "../../lib/enclave/server/events.ts";
import { type MasterKeyOptions, MasterKeyService } from "../../lib/enclave/master_key/master_key.ts";
import { type WalletOptions, WalletService } from "../../lib/enclave/wallet/wallet.ts";
import { NO_GUARDS } from "../../lib/dev/defaults.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";

/** Credentials as a request has them. The local KMS does not check credentials. */
export const CREDENTIAL = {
  AccessKeyId: "ASIATEST",
  SecretAccessKey: "NEVER-SEEN-SECRET",
  Token: "NEVER-SEEN-TOKEN",
};

/** Without allowed keys, rules, cache or NSM. */
export function plainWallet(ports: Partial<WalletOptions & Ports> & Pick<Ports, "kms">): WalletService {
  return new WalletService(
    { guards: NO_GUARDS, cache: { entries: 0, maxAgeMs: 0 }, ...ports },
    testPorts(ports),
  );
}

/** Without allowed keys or NSM. */
export function plainMasterKey(
  ports: Partial<MasterKeyOptions & Ports> & Pick<Ports, "kms">,
): MasterKeyService {
  const made = testPorts(ports);
  return new MasterKeyService({ minEpoch: 1, receipts: new ReceiptService(made), ...ports }, made);
}

/** A workflow that returns its input; without a region or a context, taking any later key. */
export function plainSession(
  ports: Partial<SessionKeyOptions & Ports> & Pick<Ports, "kms">,
): SessionKeyService {
  const made = testPorts(ports);
  return new SessionKeyService({
    receipts: new ReceiptService(made),
    region: undefined,
    context: undefined,
    configureOnce: false,
    requireEpoch: false,
    workflows: inProcess((plaintext) => plaintext),
    ...ports,
  }, made);
}

/** Has a service answer a `configure`, without a dispatcher. */
export async function configureOn(
  { routes }: SessionKeyService,
  request: WireObject,
  call: Partial<Call> = {},
): Promise<WireObject> {
  return { ...await routes["configure"]?.answer(request, { signal: NEVER, ...call }) };
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
    & Partial<WalletOptions & Pick<MasterKeyOptions, "minEpoch"> & Omit<Ports, "kms">>
    & { readonly attested?: boolean } = {},
) {
  const local = await LocalKms.open({ region: "us-east-1" });
  await local.createKey();
  const [firstArn = "", secondArn = ""] = local.keyArns;
  const kms = countCalls(local, options.attested ?? false);
  const events = new EventLog({ write: () => {}, level: "debug" });
  const keys = local.keyArns.map(parseKeyArn);
  const observed = observeDenials(kms, () => wallet.forget());
  const ports = { log: events.log, keys, ...options, kms: observed };
  const wallet = plainWallet(ports);
  const masterKey = plainMasterKey(ports);
  const session = plainSession(ports);
  const handler = testHandler([session, wallet, masterKey], testPorts(ports), events);
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
