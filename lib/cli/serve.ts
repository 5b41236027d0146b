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
import { type Options, type OptionSpec, UsageError } from "./options.ts";

/** Options of `serve` in every entry. */
export const SERVE_OPTIONS = [
  {
    name: "port",
    short: "p",
    env: "PORT",
    value: "PORT",
    default: "5000",
    help: "vsock port to listen on, any CID",
  },
  {
    name: "listen",
    env: "LISTEN",
    value: "ADDRESS",
    help: "listen elsewhere: vsock:<cid>:<port>, tcp:<host>:<port>, unix:<path>",
  },
  {
    name: "region",
    short: "r",
    env: "REGION",
    value: "REGION",
    help: "region, where the key's ARN does not say it",
  },
  {
    name: "kms-key",
    env: "KMS_KEYS",
    value: "ARN",
    multiple: true,
    help: "a KMS key that requests may select; again or with commas for more",
  },
  {
    name: "tsk-context",
    env: "TSK_CONTEXT",
    value: "K=V,...",
    multiple: true,
    help: "EncryptionContext that the TSK was wrapped with",
  },
  { name: "configure-once", env: "CONFIGURE_ONCE", help: "refuse a second configure" },
  {
    name: "require-epoch",
    env: "REQUIRE_EPOCH",
    help: "want a growing epoch in each configure, bound by the EncryptionContext",
  },
  ...SEALED_OPTIONS,
  ...WALLET_OPTIONS,
  {
    name: "min-epoch",
    env: "MIN_EPOCH",
    value: "N",
    default: "1",
    help: "refuse master keys of an earlier epoch: an old row, put back",
  },
  {
    name: "max-message",
    env: "MAX_MESSAGE",
    value: "BYTES",
    default: String(DEFAULT_LIMITS.maxMessage),
    help: "largest message",
  },
  {
    name: "max-connections",
    env: "MAX_CONNECTIONS",
    value: "N",
    default: String(DEFAULT_LIMITS.maxConnections),
    help: "connections served at a time",
  },
  {
    name: "idle-ms",
    env: "IDLE_MS",
    value: "MS",
    default: String(DEFAULT_LIMITS.idleMs),
    help: "close a silent connection after",
  },
  {
    name: "request-ms",
    env: "REQUEST_MS",
    value: "MS",
    default: String(DEFAULT_LIMITS.requestMs),
    help: "one request may take",
  },
  {
    name: "drain-ms",
    env: "DRAIN_MS",
    value: "MS",
    default: "5000",
    help: "after SIGTERM, requests under way may take",
  },
  {
    name: "log-level",
    env: "LOG_LEVEL",
    value: "LEVEL",
    default: "info",
    help: "debug, info, warn or error",
  },
] as const satisfies readonly OptionSpec[];

/** Options of the SDK's backend. */
export const NITRO_OPTIONS = [
  {
    name: "library-dir",
    env: "DENCLAVE_LIBRARY_DIR",
    value: "DIR",
    help:
      "folder of the SDK's .so files; else beside the binary, then /app, /usr/local/lib, /usr/lib64, /usr/lib. A compiled binary may open its own folder alone",
  },
  {
    name: "sdk-processes",
    env: "SDK_PROCESSES",
    value: "N",
    default: "1",
    help: "processes that call KMS, 1 to 8: so many KMS calls at the same time",
  },
  {
    name: "proxy-port",
    env: "PROXY_PORT",
    value: "PORT",
    default: "8000",
    help: "port of the parent's vsock-proxy",
  },
  {
    name: "kms-deadline-ms",
    env: "KMS_DEADLINE_MS",
    value: "MS",
    default: "45000",
    help: "one KMS call may take, second attempt included; less than --request-ms",
  },
] as const satisfies readonly OptionSpec[];

/** What the options of the SDK's backend say. */
export interface NitroConfig {
  readonly processes: number;
  readonly libraryDir: string | undefined;
  readonly proxyPort: number;
  readonly deadlineMs: number;
}

/**
 * Reads the options of the SDK's backend.
 *
 * @param requestMs what one request may take
 * @throws {UsageError} that names the option.
 */
export function readNitroConfig(options: Options, requestMs: number): NitroConfig {
  const deadlineMs = options.number("kms-deadline-ms", { min: 10, max: 600_000 });
  if (deadlineMs >= requestMs) {
    throw new UsageError(
      `Cannot use ${deadlineMs} for --kms-deadline-ms: a request may take ${requestMs} ms in all (--request-ms)`,
      "Give less than --request-ms, so that a late KMS call is answered as one.",
    );
  }
  return {
    processes: options.number("sdk-processes", { min: 1, max: 8 }),
    libraryDir: options.text("library-dir"),
    proxyPort: options.number("proxy-port", { min: 1, max: 65_535 }),
    deadlineMs,
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
  readonly sealed: SealedConfig;
  readonly wallet: WalletConfig;
  readonly minEpoch: number;
  readonly limits: Limits;
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
  return {
    address: listen === undefined ? { transport: "vsock", cid: VMADDR_CID_ANY, port } : parseAddress(listen),
    region,
    keys: [...new Set(options.list("kms-key"))].map((text) => parseKey(text)),
    context: readContext(options.list("tsk-context")),
    configureOnce: options.on("configure-once"),
    requireEpoch: options.on("require-epoch"),
    sealed: readSealedConfig(options),
    wallet: readWalletConfig(options),
    minEpoch: options.number("min-epoch", { min: 1, max: Number.MAX_SAFE_INTEGER }),
    limits: {
      maxMessage: options.number("max-message", { min: 64, max: 256 * 1024 * 1024 }),
      maxConnections: options.number("max-connections", { min: 1, max: 10_000 }),
      idleMs: options.number("idle-ms", { min: 10, max: MAX_TIMEOUT_MS }),
      requestMs: options.number("request-ms", { min: 10, max: MAX_TIMEOUT_MS }),
    },
    drainMs: options.number("drain-ms", { min: 0, max: MAX_TIMEOUT_MS }),
    logLevel: options.choice("log-level", LEVELS),
  };
}

function readContext(pairs: readonly string[]): EncryptionContext | undefined {
  if (pairs.length === 0) return undefined;
  return Object.fromEntries(pairs.map((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 1) {
      throw new UsageError(`Cannot use ${JSON.stringify(pair)} for --tsk-context`, "Write name=value.");
    }
    return [pair.slice(0, equals), pair.slice(equals + 1)];
  }));
}

/** The part of the configuration that decides what keys are used for: hashed into attestation documents. */
export function measuredConfiguration(config: ServeConfig): Readonly<Record<string, unknown>> {
  const { keys, context, configureOnce, requireEpoch, sealed, wallet, minEpoch } = config;
  const { guards } = wallet;
  return {
    version: VERSION,
    kms_keys: keys.map(({ arn }) => arn),
    tsk_context: context ?? null,
    configure_once: configureOnce,
    require_epoch: requireEpoch,
    wallet_chains: guards.chains.map(String),
    wallet_recipients: guards.recipients,
    wallet_calls: guards.calls,
    wallet_verifying_contracts: guards.verifyingContracts,
    wallet_message_prefixes: guards.messagePrefixes,
    wallet_max_value: guards.maxValue?.toString() ?? null,
    min_epoch: minEpoch,
    require_sealed: sealed.required,
    client_keys: sealed.clientKeys.map(encodeBase64),
  };
}
