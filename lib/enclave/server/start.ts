/**
 * Assembles the service from its parts and starts it; stopping it lets requests in progress end.
 *
 * @module
 */
import type { Aead } from "../../shared/crypto/aead.ts";
import type { Kms } from "../kms/kms.ts";
import { type Measurements, observeDenials } from "../kms/observed.ts";
import type { Address } from "../../shared/wire/address.ts";
import { createDispatcher } from "./dispatch.ts";
import { isEntropyTrusted } from "./entropy.ts";
import type { EventLog } from "./events.ts";
import type { Limits } from "../../shared/cli/limits.ts";
import { createMemory } from "./memory_budget.ts";
import { MasterKeyService } from "../master_key/master_key.ts";
import { Metrics } from "./metrics.ts";
import { type Attester, type EntropySource } from "./ports.ts";
import { type Acceptor, Server } from "./server.ts";
import { type SessionKeyOptions, SessionKeyService } from "../session_key/session_key.ts";
import { SealedService } from "../sealed/sealed.ts";
import type { SealedConfig } from "../../shared/cli/sealed_options.ts";
import { createTurnEnd } from "./turn.ts";
import { type WalletOptions, WalletService } from "../wallet/wallet.ts";
import { likelyAllowances } from "../wallet/wallet_guards.ts";

/** The parts of a service. */
export interface ServiceOptions {
  readonly kms: Kms;
  readonly acceptor: Acceptor;
  readonly transport: Address["transport"];
  readonly limits: Limits;
  /** The machine's memory, where it is known: shown beside what messages may take of it. Bytes. */
  readonly memory?: number | undefined;
  readonly session: Omit<SessionKeyOptions, "kms" | "aead" | "entropy" | "log" | "now">;
  readonly wallet: Pick<WalletOptions, "guards" | "cache">;
  /** Master keys of an earlier epoch are refused. */
  readonly minEpoch: number;
  readonly sealed: SealedConfig;
  /** The source of the kernel's random numbers. */
  readonly entropy: EntropySource;
  /** The NSM; undefined outside an enclave: no attestation documents. */
  readonly attester: Attester | undefined;
  /** PCRs of this image, where there is an NSM: shown when KMS denies access. */
  readonly measurements: Measurements | undefined;
  /** Configuration hash for attestation documents. 32 bytes. */
  readonly configurationHash: Uint8Array<ArrayBuffer>;
  /** The self-test as `health` shows it, run for every `health`. */
  readonly selfTest: () => Promise<readonly object[]>;
  /** AES-256-GCM for the session key and for sealed rows. */
  readonly aead: Aead;
  /** Further warnings, logged and shown in `health`. */
  readonly warnings: readonly string[];
  /** Whether the log shows the messages of the workflow's errors. Never in production, since they may contain data. */
  readonly isDevelopment: boolean;
  /** Kinds of permission that the process holds while it serves; shown in `health`. */
  readonly permissions: readonly string[];
  readonly events: EventLog;
  readonly version: string;
  readonly now?: () => Date;
  /** Milliseconds. */
  readonly monotonic?: () => number;
}

/** A running service. */
export interface Service {
  /** Lets requests in progress end, for at most this many milliseconds; then wipes the keys and closes the KMS. */
  stop(withinMs: number): Promise<void>;
}

function warningsOf(options: ServiceOptions): readonly string[] {
  const { kms, session, sealed, wallet } = options;
  const warnings: string[] = [];
  if (!kms.attested) warnings.push("development KMS: keys are not bound to an attested enclave");
  if (kms.attested && session.keys.length === 0) {
    warnings.push(
      "no KMS key is allowed (--kms-key, KMS_KEYS): every configure, account and master key is refused",
    );
  }
  if (kms.attested && session.context === undefined) {
    warnings.push(
      "session keys are taken without an EncryptionContext (--tsk-context none): whoever wraps them needs an unconditional kms:Encrypt",
    );
  }
  if (sealed.clientKeys.length > 0 && !sealed.required) {
    warnings.push(
      "client keys are configured, but clients that do not seal their requests need none (add --require-sealed)",
    );
  }
  if ((sealed.required || sealed.clientKeys.length > 0) && options.attester === undefined) {
    warnings.push("sealed requests are required, but there is no NSM to attest to a key: none can be served");
  }
  const allowances = likelyAllowances(wallet.guards);
  if (allowances.length > 0) {
    warnings.push(
      `typed data that looks like an allowance is allowed, and its spender and amount are not checked: ${
        allowances.join(", ")
      }`,
    );
  }
  return warnings;
}

/** Known once the KMS is open. */
function entropyWarnings(kms: Kms, entropy: EntropySource): readonly string[] {
  if (!kms.attested || kms.health()["entropy_seeded"] !== false) return [];
  const consequence = isEntropyTrusted(kms, entropy)
    ? ", but the kernel's own generator is the NSM's"
    : ": no key is made, and process is refused";
  return [`the kernel's entropy pool was not seeded from the NSM${consequence}`];
}

/** Starts the service on an open listener. */
export function startService(options: ServiceOptions): Service {
  const { events, limits, acceptor, transport } = options;
  const kms = observeDenials(options.kms, () => wallet.forgetKeys(), options.measurements);
  const { log } = events;
  const now = options.now ?? (() => new Date());
  const metrics = new Metrics();
  const { aead, entropy } = options;
  const warnings: string[] = [];
  const warn = (...found: readonly string[]) => {
    warnings.push(...found);
    for (const warning of found) log("warn", "configuration", { warning });
  };
  warn(...warningsOf(options), ...options.warnings);
  void (kms.opened ?? Promise.resolve()).then(() => warn(...entropyWarnings(kms, entropy)), () => {});
  const memory = createMemory(limits.maxInFlight);
  const session = new SessionKeyService({ ...options.session, kms, aead, entropy, log, now });
  const shared = {
    aead,
    kms,
    keys: options.session.keys,
    entropy: options.entropy,
    attester: options.attester,
    configurationHash: options.configurationHash,
    log,
    now,
  };
  const wallet = new WalletService({ ...options.wallet, ...shared });
  const masterKey = new MasterKeyService({ minEpoch: options.minEpoch, ...shared });
  const sealed = new SealedService({
    ...options.sealed,
    ...shared,
    monotonic: options.monotonic ?? (() => performance.now()),
  });
  const handler = createDispatcher({
    session,
    wallet,
    masterKey,
    sealed,
    kms,
    aead,
    random: entropy.random,
    events,
    metrics,
    log,
    now,
    warnings,
    selfTest: options.selfTest,
    version: options.version,
    serverStats: () => ({
      ...server.stats,
      memory_in_flight: memory.buffers.used + memory.requests.used,
      memory_budget: limits.maxInFlight,
      ...(options.memory === undefined ? {} : { memory_total: options.memory }),
    }),
    requestMemory: memory.requests,
    isDevelopment: options.isDevelopment,
    permissions: options.permissions,
  });
  const server = new Server(acceptor, {
    handler,
    limits,
    memory,
    transport,
    log,
    metrics,
    now: () => performance.now(),
    turnEnd: createTurnEnd(),
  });

  return {
    stop: async (withinMs: number) => {
      log("info", "draining", { connections: server.stats.connections });
      await server.drain(withinMs);
      session[Symbol.dispose]();
      wallet[Symbol.dispose]();
      masterKey[Symbol.dispose]();
      // Before the sealed requests' keys: making one may wait for the KMS.
      await kms[Symbol.asyncDispose]();
      await sealed[Symbol.asyncDispose]();
      log("info", "stopped");
    },
  };
}
