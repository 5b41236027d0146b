/**
 * The options of `serve`, parsed into the measured configuration. Shared by the production and the development entry.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import type { EncryptionContext } from "../aws/kms_limits.ts";
import { isRegion } from "../aws/region.ts";
import { type KeyArn, parseKeyArn } from "../aws/key_arn.ts";
import { isOtherKeysContext } from "../aws/tsk_context.ts";
import type { LogLevel } from "../log.ts";
import type { SealedConfig } from "./sealed_options.ts";
import { DEFAULT_LIMITS, type LimitOptions, type WorkflowLimits } from "./limits.ts";
import { BYTE_COST } from "./limits.ts";
import { VERSION } from "../version.ts";
import { type Address, parseAddress, VMADDR_CID_ANY } from "../wire/address.ts";
import { readSealedConfig, SEALED_OPTIONS } from "./sealed_options.ts";
import { readWalletConfig, WALLET_OPTIONS, type WalletConfig } from "./wallet_options.ts";
import { type MeasuredOptionSpec, type Options, UsageError } from "./options.ts";

/** Commands of the enclave's binary with the options of `kmstool_enclave_cli`. */
export const KMSTOOL_COMMANDS = ["decrypt", "genkey", "genrandom"] as const;

/** Features that a service may have: those of `lib/enclave/features.ts`. */
export const FEATURES = ["session_key", "wallet", "master_key", "sealed"] as const;

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
    help: "AWS region, if the KMS key does not say it",
  },
  {
    name: "kms-key",
    env: "KMS_KEYS",
    refuseEmpty: true,
    value: "ARN",
    multiple: true,
    help: "KMS key that requests may use; again or with commas for more",
  },
  {
    name: "features",
    env: "FEATURES",
    refuseEmpty: true,
    value: "NAME,...",
    multiple: true,
    help: `what to serve: ${FEATURES.join(", ")}; all of them unless given, which health warns of`,
  },
  {
    name: "tsk-context",
    env: "TSK_CONTEXT",
    refuseEmpty: true,
    value: "K=V,...",
    multiple: true,
    default: "app=denclave,purpose=tsk",
    help: "EncryptionContext of the wrapped trusted session key (TSK); none if it was wrapped without one",
  },
  { name: "configure-once", env: "CONFIGURE_ONCE", refuseEmpty: true, help: "refuse a second configure" },
  {
    name: "require-epoch",
    env: "REQUIRE_EPOCH",
    refuseEmpty: true,
    help: "require an epoch in each configure, higher than the last, as part of the EncryptionContext",
  },
  {
    name: "min-tsk-epoch",
    env: "MIN_TSK_EPOCH",
    refuseEmpty: true,
    value: "N",
    help: "refuse session keys of a lower epoch, also after a restart (implies --require-epoch)",
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
    help: "refuse master keys of a lower epoch, such as an old row that was restored",
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
    help: "connections served at the same time",
  },
  {
    name: "max-in-flight",
    env: "MAX_IN_FLIGHT",
    refuseEmpty: true,
    value: "BYTES",
    help:
      "memory for incoming messages and requests under way; further requests are answered busy; by default half of the memory beyond 190 MiB and 55 for each further SDK process, at most 512 MiB",
  },
  {
    name: "idle-ms",
    env: "IDLE_MS",
    refuseEmpty: true,
    value: "MS",
    default: String(DEFAULT_LIMITS.idleMs),
    help: "close a connection that sends nothing for this long",
  },
  {
    name: "request-ms",
    env: "REQUEST_MS",
    refuseEmpty: true,
    value: "MS",
    default: String(DEFAULT_LIMITS.requestMs),
    help: "time limit of one request",
  },
  {
    name: "workflow-processes",
    env: "WORKFLOW_PROCESSES",
    refuseEmpty: true,
    value: "N",
    help:
      "processes that run the workflow, 1 to 16; by default one less than there are processors, at most 4 and no more than the memory has room for",
  },
  {
    name: "workflow-ms",
    env: "WORKFLOW_MS",
    refuseEmpty: true,
    value: "MS",
    default: "5000",
    help: "time that the workflow may work on a request; its process is ended then",
  },
  {
    name: "workflow-memory",
    env: "WORKFLOW_MEMORY",
    refuseEmpty: true,
    value: "BYTES",
    help:
      "memory that the workflow may take in a process; by default what the largest message needs, and at least 128 MiB",
  },
  {
    name: "drain-ms",
    env: "DRAIN_MS",
    refuseEmpty: false,
    value: "MS",
    default: "5000",
    help: "time that requests under way have to finish after SIGTERM",
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
      "folder of the SDK's .so files; by default the binary's, /app, /usr/local/lib, /usr/lib64, /usr/lib. A compiled binary can open only its own folder",
  },
  {
    name: "sdk-processes",
    env: "SDK_PROCESSES",
    refuseEmpty: true,
    value: "N",
    default: "1",
    help: "processes that call KMS, 1 to 8; each makes one call at a time",
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
    default: "45000",
    help: "time limit of one KMS call with its second attempt; less than --request-ms",
  },
] as const satisfies readonly MeasuredOptionSpec[];

/** The parsed options of the SDK's backend. */
export interface NitroConfig {
  readonly processes: number;
  readonly libraryDir: string | undefined;
  readonly proxyPort: number;
  readonly deadlineMs: number;
}

/**
 * Reads the options of the SDK's backend.
 *
 * @param requestMs time limit of one request
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

/** The parsed options of `serve`. */
export interface ServeConfig {
  readonly address: Address;
  readonly region: string | undefined;
  readonly keys: readonly KeyArn[];
  /** Undefined where none was named: then all are served. */
  readonly features: readonly string[] | undefined;
  readonly context: EncryptionContext | undefined;
  readonly configureOnce: boolean;
  readonly requireEpoch: boolean;
  /** Undefined where any epoch is accepted. */
  readonly minTskEpoch: number | undefined;
  readonly bindProcess: boolean;
  readonly sealed: SealedConfig;
  readonly wallet: WalletConfig;
  readonly minEpoch: number;
  readonly limits: LimitOptions;
  /** The settings of the SDK's backend as text, by option; undefined in an entry without that backend. */
  readonly sdk: Readonly<Record<string, string | undefined>>;
  /** What is left out depends on the machine. */
  readonly workflow: WorkflowLimits;
  readonly drainMs: number;
  readonly logLevel: LogLevel;
}

const LEVELS = ["debug", "info", "warn", "error"] as const;
const MAX_TIMEOUT_MS = 3_600_000;

/**
 * Reads the options.
 *
 * @param parseKey reads a key's name; the production entry accepts only an ARN
 * @throws {UsageError | EnclaveError} that names the option.
 */
export function readServeConfig(
  options: Options,
  parseKey: (text: string) => KeyArn = parseKeyArn,
): ServeConfig {
  const region = options.text("region");
  if (region !== undefined && !isRegion(region)) {
    throw new UsageError(
      `Cannot use ${JSON.stringify(region)} for --region`,
      "Give a region's name such as us-west-2.",
    );
  }
  const sealed = readSealedConfig(options);
  const listen = listenOption(options);
  const port = options.number("port", { min: 1, max: 0xffff_ffff });
  const minTskEpoch = options.text("min-tsk-epoch") === undefined
    ? undefined
    : options.number("min-tsk-epoch", { min: 0, max: Number.MAX_SAFE_INTEGER });
  return {
    address: listen === undefined ? { transport: "vsock", cid: VMADDR_CID_ANY, port } : parseAddress(listen),
    region,
    keys: options.distinct("kms-key", parseKey, ({ arn }) => arn),
    features: readFeatures(options, sealed),
    context: readContext(options),
    configureOnce: options.on("configure-once"),
    requireEpoch: options.on("require-epoch") || minTskEpoch !== undefined,
    minTskEpoch,
    bindProcess: options.on("bind-process"),
    sealed,
    wallet: readWalletConfig(options),
    minEpoch: options.number("min-epoch", { min: 1, max: Number.MAX_SAFE_INTEGER }),
    limits: readLimits(options),
    sdk: Object.fromEntries(NITRO_OPTIONS.map(({ name }) => [name, options.text(name)])),
    workflow: {
      processes: optionalNumber(options, "workflow-processes", { min: 1, max: 16 }),
      deadlineMs: options.number("workflow-ms", { min: 10, max: MAX_TIMEOUT_MS }),
      memory: optionalNumber(options, "workflow-memory", { min: 16 * 1024 * 1024, max: 2 ** 40 }),
    },
    drainMs: options.number("drain-ms", { min: 0, max: MAX_TIMEOUT_MS }),
    logLevel: options.choice("log-level", LEVELS),
  };
}

/** In the order of {@link FEATURES}, so that the order in which they are named does not change the configuration hash. */
function readFeatures(options: Options, sealed: SealedConfig): readonly string[] | undefined {
  const given = options.distinct("features", (text) => {
    if (FEATURES.some((name) => name === text)) return text;
    throw new UsageError(
      `Cannot use ${JSON.stringify(text)} for --features`,
      `Give some of ${FEATURES.join(", ")}.`,
    );
  });
  if (given.length === 0) return undefined;
  if (!given.includes("sealed") && (sealed.required || sealed.clientKeys.length > 0)) {
    throw new UsageError(
      "--require-sealed and --client-key need the feature sealed, which --features does not name",
      "Name sealed in --features, or leave the other option out.",
    );
  }
  return FEATURES.filter((name) => given.includes(name));
}

function optionalNumber(
  options: Options,
  name: string,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  return options.text(name) === undefined ? undefined : options.number(name, range);
}

function readLimits(options: Options): LimitOptions {
  const maxMessage = options.number("max-message", { min: 64, max: 256 * 1024 * 1024 });
  const maxInFlight = options.text("max-in-flight") === undefined
    ? undefined
    : options.number("max-in-flight", { min: 1024 * 1024, max: 2 ** 40 });
  // Half of it is for requests in progress: one message of the largest size must fit.
  const least = 2 * BYTE_COST * maxMessage;
  if (maxInFlight !== undefined && maxInFlight < least) {
    throw new UsageError(
      `--max-in-flight ${maxInFlight} is too little for --max-message ${maxMessage}`,
      `Give at least ${least}, ${2 * BYTE_COST} times the largest message, or lower --max-message.`,
    );
  }
  return {
    maxMessage,
    maxInFlight,
    maxConnections: options.number("max-connections", { min: 1, max: 10_000 }),
    idleMs: options.number("idle-ms", { min: 10, max: MAX_TIMEOUT_MS }),
    requestMs: options.number("request-ms", { min: 10, max: MAX_TIMEOUT_MS }),
  };
}

/**
 * The value of --listen or its variable; undefined when --port applies. A flag takes precedence over the other option's variable.
 *
 * @throws {UsageError} when both are given.
 */
export function listenOption(options: Options): string | undefined {
  if (!options.isFlag("port")) return options.text("listen");
  if (!options.isFlag("listen")) return undefined;
  throw new UsageError("--port does not go with --listen", "Give --listen alone: its address has the port.");
}

function readContext(options: Options): EncryptionContext | undefined {
  const given = options.list("tsk-context");
  if (given.length === 1 && given[0] === "none") return undefined;
  const pairs = options.distinct("tsk-context", contextPair, ([name]) => name);
  if (pairs.length === 0) return undefined;
  const context = Object.fromEntries(pairs);
  if (!isOtherKeysContext(context)) return context;
  throw new UsageError(
    `Cannot use --tsk-context ${given.join(",")}: it is the context of the ${
      context["purpose"]
    } keys of this service`,
    "Their wrapped data keys would be accepted as session keys. Use another purpose, such as the default purpose=tsk.",
  );
}

function contextPair(pair: string): readonly [string, string] {
  const equals = pair.indexOf("=");
  if (equals >= 1) return [pair.slice(0, equals), pair.slice(equals + 1)];
  throw new UsageError(`Cannot use ${JSON.stringify(pair)} for --tsk-context`, "Write name=value.");
}

/** The configuration without its listening, logging and shutdown settings: hashed into attestation documents. */
export function measuredConfiguration(config: ServeConfig): Readonly<Record<string, unknown>> {
  const { keys, features, region, context, configureOnce, requireEpoch, minTskEpoch, bindProcess } = config;
  const { sealed, wallet, minEpoch, limits, sdk } = config;
  const { guards, cache } = wallet;
  return {
    version: VERSION,
    kms_keys: keys.map(({ arn }) => arn),
    // Left out if none are named: the hash is then that of versions without this option.
    ...(features === undefined ? {} : { features }),
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
    // As given: the parent, which chooses the memory, must not be able to change the hash.
    limits: { ...limits, maxInFlight: limits.maxInFlight ?? null },
    workflow_processes: config.workflow.processes ?? null,
    workflow_ms: config.workflow.deadlineMs,
    workflow_memory: config.workflow.memory ?? null,
    sdk: NITRO_OPTIONS.map(({ name }) => [name, sdk[name] ?? null]),
  };
}
