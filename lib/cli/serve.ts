/**
 * The options of `serve`, and what they say: the measured configuration. Shared by the production entry and the development one.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import type { EncryptionContext } from "../aws/kms_limits.ts";
import { isRegion } from "../aws/region.ts";
import { type KeyArn, parseKeyArn } from "../aws/key_arn.ts";
import type { LogLevel } from "../log.ts";
import type { SealedConfig } from "../service/sealed.ts";
import { DEFAULT_LIMITS, type Limits } from "../service/limits.ts";
import { VERSION } from "../version.ts";
import { type Address, parseAddress, VMADDR_CID_ANY } from "../wire/address.ts";
import { readSealedConfig, SEALED_OPTIONS } from "./sealed_options.ts";
import { readWalletConfig, WALLET_OPTIONS, type WalletConfig } from "./wallet_options.ts";
import { type MeasuredOptionSpec, type Options, UsageError } from "./options.ts";

/** Options of `serve` in every entry. */
export const SERVE_OPTIONS = [
  {
    name: "port",
    short: "p",
    env: "PORT",
    refuseEmpty: false,
    value: "PORT",
    default: "5000",
    help: "vsock port to listen on, any CID",
  },
  {
    name: "listen",
    env: "LISTEN",
    refuseEmpty: false,
    value: "ADDRESS",
    help: "listen elsewhere: vsock:<cid>:<port>, tcp:<host>:<port>, unix:<path>",
  },
  {
    name: "region",
    short: "r",
    env: "REGION",
    refuseEmpty: false,
    value: "REGION",
    help: "region, where the key's ARN does not say it",
  },
  {
    name: "kms-key",
    env: "KMS_KEYS",
    refuseEmpty: true,
    value: "ARN",
    multiple: true,
    help: "a KMS key that requests may select; again or with commas for more",
  },
  {
    name: "tsk-context",
    env: "TSK_CONTEXT",
    refuseEmpty: true,
    value: "K=V,...",
    multiple: true,
    default: "app=denclave,purpose=tsk",
    help:
      "EncryptionContext that the trusted session key (TSK) was wrapped under; none for a key wrapped without one",
  },
  { name: "configure-once", env: "CONFIGURE_ONCE", refuseEmpty: true, help: "refuse a second configure" },
  {
    name: "require-epoch",
    env: "REQUIRE_EPOCH",
    refuseEmpty: true,
    help: "want a growing epoch in each configure, bound by the EncryptionContext",
  },
  {
    name: "min-tsk-epoch",
    env: "MIN_TSK_EPOCH",
    refuseEmpty: true,
    value: "N",
    help: "refuse session keys of an earlier epoch, also after a restart (implies --require-epoch)",
  },
  {
    name: "bind-process",
    env: "BIND_PROCESS",
    refuseEmpty: true,
    help: "refuse process requests whose blobs are not bound to their direction and request",
  },
  ...SEALED_OPTIONS,
  ...WALLET_OPTIONS,
  {
    name: "min-epoch",
    env: "MIN_EPOCH",
    refuseEmpty: true,
    value: "N",
    default: "1",
    help: "refuse master keys of an earlier epoch: an old row, put back",
  },
  {
    name: "max-message",
    env: "MAX_MESSAGE",
    refuseEmpty: true,
    value: "BYTES",
    default: String(DEFAULT_LIMITS.maxMessage),
    help: "largest message",
  },
  {
    name: "max-connections",
    env: "MAX_CONNECTIONS",
    refuseEmpty: true,
    value: "N",
    default: String(DEFAULT_LIMITS.maxConnections),
    help: "connections served at a time",
  },
  {
    name: "idle-ms",
    env: "IDLE_MS",
    refuseEmpty: true,
    value: "MS",
    default: String(DEFAULT_LIMITS.idleMs),
    help: "close a silent connection after",
  },
  {
    name: "request-ms",
    env: "REQUEST_MS",
    refuseEmpty: true,
    value: "MS",
    default: String(DEFAULT_LIMITS.requestMs),
    help: "one request may take",
  },
  {
    name: "drain-ms",
    env: "DRAIN_MS",
    refuseEmpty: false,
    value: "MS",
    default: "5000",
    help: "after SIGTERM, requests under way may take",
  },
  {
    name: "log-level",
    env: "LOG_LEVEL",
    refuseEmpty: false,
    value: "LEVEL",
    default: "info",
    help: "debug, info, warn or error",
  },
] as const satisfies readonly MeasuredOptionSpec[];

/** Options of the SDK's backend. */
export const NITRO_OPTIONS = [
  {
    name: "library-dir",
    env: "DENCLAVE_LIBRARY_DIR",
    refuseEmpty: false,
    value: "DIR",
    help:
      "folder of the SDK's two .so files; else beside the binary, then /app, /usr/local/lib, /usr/lib64, /usr/lib",
  },
  {
    name: "sdk-host",
    env: "SDK_HOST",
    refuseEmpty: true,
    value: "KIND",
    default: "worker",
    help: "where SDK calls run: worker, or process, which can be killed",
  },
  {
    name: "proxy-port",
    env: "PROXY_PORT",
    refuseEmpty: false,
    value: "PORT",
    default: "8000",
    help: "port of the parent's vsock-proxy",
  },
  {
    name: "kms-deadline-ms",
    env: "KMS_DEADLINE_MS",
    refuseEmpty: true,
    value: "MS",
    default: "30000",
    help: "one KMS call may take",
  },
] as const satisfies readonly MeasuredOptionSpec[];

/** What the options of the SDK's backend say. */
export interface NitroConfig {
  readonly kind: "worker" | "process";
  readonly libraryDir: string | undefined;
  readonly proxyPort: number;
  readonly deadlineMs: number;
}

/**
 * Reads the options of the SDK's backend.
 *
 * @throws {UsageError} that names the option.
 */
export function readNitroConfig(options: Options, _requestMs: number): NitroConfig {
  return {
    kind: options.choice("sdk-host", ["worker", "process"]),
    libraryDir: options.text("library-dir"),
    proxyPort: options.number("proxy-port", { min: 1, max: 65_535 }),
    deadlineMs: options.number("kms-deadline-ms", { min: 10, max: 600_000 }),
  };
}

/** What the options of `serve` say. */
export interface ServeConfig {
  readonly address: Address;
  readonly region: string | undefined;
  readonly keys: readonly KeyArn[];
  readonly context: EncryptionContext | undefined;
  readonly configureOnce: boolean;
  readonly requireEpoch: boolean;
  /** Undefined where any epoch will do. */
  readonly minTskEpoch: number | undefined;
  readonly bindProcess: boolean;
  readonly sealed: SealedConfig;
  readonly wallet: WalletConfig;
  readonly minEpoch: number;
  readonly limits: Limits;
  /** The settings of the SDK's backend as they are written, by option; undefined in an entry that has none. */
  readonly sdk: Readonly<Record<string, string | undefined>>;
  readonly drainMs: number;
  readonly logLevel: LogLevel;
}

const LEVELS = ["debug", "info", "warn", "error"] as const;
const MAX_TIMEOUT_MS = 3_600_000;

/**
 * Reads the options.
 *
 * @param parseKey reads a key's name; in the production entry an ARN, and nothing else
 * @throws {UsageError | EnclaveError} that names the option.
 */
export function readServeConfig(
  options: Options,
  parseKey: (text: string) => KeyArn = parseKeyArn,
): ServeConfig {
  const [unexpected] = options.positionals;
  if (unexpected !== undefined) {
    throw new UsageError(`Unexpected argument ${JSON.stringify(unexpected)}`, "--help shows the usage.");
  }
  const region = options.text("region");
  if (region !== undefined && !isRegion(region)) {
    throw new UsageError(
      `Cannot use ${JSON.stringify(region)} for --region`,
      "Give a region's name such as us-west-2.",
    );
  }
  const listen = options.text("listen");
  const port = options.number("port", { min: 1, max: 0xffff_ffff });
  const minTskEpoch = options.text("min-tsk-epoch") === undefined
    ? undefined
    : options.number("min-tsk-epoch", { min: 0, max: Number.MAX_SAFE_INTEGER });
  return {
    address: listen === undefined ? { transport: "vsock", cid: VMADDR_CID_ANY, port } : parseAddress(listen),
    region,
    keys: options.distinct("kms-key", parseKey, ({ arn }) => arn),
    context: readContext(options),
    configureOnce: options.on("configure-once"),
    requireEpoch: options.on("require-epoch") || minTskEpoch !== undefined,
    minTskEpoch,
    bindProcess: options.on("bind-process"),
    sealed: readSealedConfig(options),
    wallet: readWalletConfig(options),
    minEpoch: options.number("min-epoch", { min: 1, max: Number.MAX_SAFE_INTEGER }),
    limits: {
      maxMessage: options.number("max-message", { min: 64, max: 256 * 1024 * 1024 }),
      maxConnections: options.number("max-connections", { min: 1, max: 10_000 }),
      idleMs: options.number("idle-ms", { min: 10, max: MAX_TIMEOUT_MS }),
      requestMs: options.number("request-ms", { min: 10, max: MAX_TIMEOUT_MS }),
    },
    sdk: Object.fromEntries(NITRO_OPTIONS.map(({ name }) => [name, options.text(name)])),
    drainMs: options.number("drain-ms", { min: 0, max: MAX_TIMEOUT_MS }),
    logLevel: options.choice("log-level", LEVELS),
  };
}

function readContext(options: Options): EncryptionContext | undefined {
  const given = options.list("tsk-context");
  if (given.length === 1 && given[0] === "none") return undefined;
  const pairs = options.distinct("tsk-context", contextPair, ([name]) => name);
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}

function contextPair(pair: string): readonly [string, string] {
  const equals = pair.indexOf("=");
  if (equals >= 1) return [pair.slice(0, equals), pair.slice(equals + 1)];
  throw new UsageError(`Cannot use ${JSON.stringify(pair)} for --tsk-context`, "Write name=value.");
}

/** The configuration but for where it listens and how it logs and ends: hashed into attestation documents. */
export function measuredConfiguration(config: ServeConfig): Readonly<Record<string, unknown>> {
  const { keys, region, context, configureOnce, requireEpoch, minTskEpoch, bindProcess } = config;
  const { sealed, wallet, minEpoch, limits, sdk } = config;
  const { guards, cache } = wallet;
  return {
    version: VERSION,
    kms_keys: keys.map(({ arn }) => arn),
    region: region ?? null,
    tsk_context: context ?? null,
    configure_once: configureOnce,
    require_epoch: requireEpoch,
    min_tsk_epoch: minTskEpoch ?? null,
    bind_process: bindProcess,
    wallet_chains: guards.chains.map(String),
    wallet_recipients: guards.recipients,
    wallet_calls: guards.calls,
    wallet_verifying_contracts: guards.verifyingContracts,
    wallet_message_prefixes: guards.messagePrefixes,
    wallet_max_value: guards.maxValue?.toString() ?? null,
    wallet_cache: cache.entries,
    wallet_cache_ms: cache.maxAgeMs,
    min_epoch: minEpoch,
    require_sealed: sealed.required,
    client_keys: sealed.clientKeys.map(encodeBase64),
    max_sealed_age_ms: sealed.maxAgeMs,
    limits,
    sdk: NITRO_OPTIONS.map(({ name }) => [name, sdk[name] ?? null]),
  };
}
