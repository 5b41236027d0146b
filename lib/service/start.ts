/**
 * Puts the service together from its parts and starts it; the counterpart ends it without losing what is under way.
 *
 * @module
 */
import type { Kms } from "../kms/kms.ts";
import { type Measurements, observeDenials } from "../kms/observed.ts";
import type { Address } from "../wire/address.ts";
import { createDispatcher } from "./dispatch.ts";
import { isEntropyTrusted } from "./entropy.ts";
import type { EventLog } from "./events.ts";
import type { Limits } from "./limits.ts";
import { createMemory } from "./memory_budget.ts";
import { MasterKeyService } from "./master_key.ts";
import { FIRST_EPOCH } from "./master_key_requests.ts";
import { Metrics } from "./metrics.ts";
import { type Attester, type EntropySource, UNKNOWN_ENTROPY } from "./ports.ts";
import { type Acceptor, Server } from "./server.ts";
import { type SessionKeyOptions, SessionKeyService } from "./session_key.ts";
import { OPEN_TO_ALL, type SealedConfig, SealedService } from "./sealed.ts";
import { NO_CACHE } from "./key_cache.ts";
import { createTurnEnd } from "./turn.ts";
import { NO_GUARDS } from "./wallet_guards.ts";
import { type WalletOptions, WalletService } from "./wallet.ts";

/** What a service is made of. */
export interface ServiceOptions {
  readonly kms: Kms;
  readonly acceptor: Acceptor;
  readonly transport: Address["transport"];
  readonly limits: Limits;
  readonly session: Omit<SessionKeyOptions, "kms" | "entropy" | "log" | "now">;
  /** Without it: no rules, no cache. */
  readonly wallet?: Pick<WalletOptions, "guards" | "cache">;
  /** Master keys of an earlier epoch are refused. */
  readonly minEpoch?: number;
  /** Without it: requests come sealed or not, from anybody. */
  readonly sealed?: SealedConfig;
  /** What is known of the kernel's random numbers. */
  readonly entropy?: EntropySource;
  /** The NSM; without it no attestation documents. */
  readonly attester?: Attester | undefined;
  /** Of this image, where there is an NSM: told when KMS denies access. */
  readonly measurements?: Measurements | undefined;
  /** Goes into attestation documents. 32 bytes. */
  readonly configurationHash?: Uint8Array<ArrayBuffer>;
  /** What `health` shows of the self-test at the start. */
  readonly selfTest?: readonly object[];
  /** Warnings of whoever put it together. */
  readonly warnings?: readonly string[];
  /** Whether the log shows the words of the workflow's errors. Never in production: they may be made of the data. */
  readonly isDevelopment?: boolean;
  /** Kinds of permission that the process holds while it serves; shown in `health`. */
  readonly permissions?: readonly string[];
  readonly events: EventLog;
  readonly version: string;
  readonly now?: () => Date;
  /** Milliseconds. */
  readonly monotonic?: () => number;
}

/** A service that runs. */
export interface Service {
  /** Lets requests under way end, for so many milliseconds; then wipes the keys and lets the KMS go. */
  stop(withinMs: number): Promise<void>;
}

function warningsOf(options: ServiceOptions): readonly string[] {
  const { kms, session, entropy = UNKNOWN_ENTROPY } = options;
  const warnings: string[] = [];
  if (!kms.attested) warnings.push("development KMS: keys are not bound to an attested enclave");
  if (kms.attested && session.keys.length === 0) {
    warnings.push(
      "no KMS key is allowed (--kms-key, KMS_KEYS): every configure, account and master key is refused",
    );
  }
  if (kms.attested && kms.health()["entropy_seeded"] === false) {
    warnings.push(
      `the kernel's entropy pool was not seeded from the NSM${
        isEntropyTrusted(kms, entropy)
          ? ", but the kernel's own generator is the NSM's"
          : ": no key is made, and process is refused"
      }`,
    );
  }
  const { sealed = OPEN_TO_ALL } = options;
  if (sealed.clientKeys.length > 0 && !sealed.required) {
    warnings.push("client keys are configured, but whoever does not seal needs none (--require-sealed)");
  }
  if ((sealed.required || sealed.clientKeys.length > 0) && options.attester === undefined) {
    warnings.push("sealed requests are wanted, but there is no NSM to attest to a key: none is served");
  }
  return warnings;
}

/** Starts the service on an open listener. */
export function startService(options: ServiceOptions): Service {
  const { events, limits, acceptor, transport } = options;
  const kms = observeDenials(options.kms, () => wallet.forgetKeys(), options.measurements);
  const { log } = events;
  const now = options.now ?? (() => new Date());
  const metrics = new Metrics();
  const warnings = [...warningsOf(options), ...(options.warnings ?? [])];
  for (const warning of warnings) log("warn", "configuration", { warning });

  const memory = createMemory(limits.maxInFlight);
  const session = new SessionKeyService({
    ...options.session,
    kms,
    entropy: options.entropy ?? UNKNOWN_ENTROPY,
    log,
    now,
  });
  const shared = {
    kms,
    keys: options.session.keys,
    entropy: options.entropy ?? UNKNOWN_ENTROPY,
    attester: options.attester,
    configurationHash: options.configurationHash ?? new Uint8Array(32),
    log,
  };
  const wallet = new WalletService({
    ...(options.wallet ?? { guards: NO_GUARDS, cache: NO_CACHE }),
    ...shared,
  });
  const masterKey = new MasterKeyService({ minEpoch: options.minEpoch ?? FIRST_EPOCH, ...shared });
  const sealed = new SealedService({
    ...(options.sealed ?? OPEN_TO_ALL),
    ...shared,
    now,
    monotonic: options.monotonic ?? (() => performance.now()),
  });
  const handler = createDispatcher({
    session,
    wallet,
    masterKey,
    sealed,
    kms,
    events,
    metrics,
    log,
    now,
    warnings,
    selfTest: options.selfTest ?? [],
    version: options.version,
    serverStats: () => ({
      ...server.stats,
      memory_in_flight: memory.buffers.used + memory.requests.used,
    }),
    requestMemory: memory.requests,
    isDevelopment: options.isDevelopment ?? false,
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
    stop: async (withinMs) => {
      log("info", "draining", { connections: server.stats.connections });
      await server.drain(withinMs);
      session[Symbol.dispose]();
      wallet[Symbol.dispose]();
      masterKey[Symbol.dispose]();
      await sealed[Symbol.asyncDispose]();
      await kms[Symbol.asyncDispose]();
      log("info", "stopped");
    },
  };
}
