/**
 * The options of `serve`, parsed into the measured configuration. Shared by the production and the development entry.
 *
 * @module
 */
import type { EncryptionContext } from "../aws/kms_limits.ts";
import { type KeyArn, parseKeyArn } from "../aws/key_arn.ts";
import { isRegion } from "../aws/region.ts";
import { isOtherKeysContext } from "../aws/tsk_context.ts";
import { VERSION } from "../version.ts";
import { parseAddress, VMADDR_CID_ANY } from "../wire/address.ts";
import { LIMIT_OPTIONS, MAX_TIMEOUT_MS, readLimits, WORKFLOW_OPTIONS } from "./limits.ts";
import { type Options, refuseValue, UsageError } from "./options.ts";
import { MAX_SEALED_AGE_MS, SEALED_OPTIONS } from "./sealed_options.ts";
import { distinct, measured, optionalNumber, readAll, toggle, wholeNumber } from "./settings.ts";
import { type Setting, setting, type Values } from "./settings.ts";
import { CACHE_MS, WALLET_CACHE, WALLET_GUARDS } from "./wallet_options.ts";

/** Commands of the enclave's binary with the options of `kmstool_enclave_cli`. */
export const KMSTOOL_COMMANDS = ["decrypt", "genkey", "genrandom"] as const;

/** Features that a service may have: those of `lib/enclave/features.ts`. */
export const FEATURES = ["session_key", "wallet", "master_key", "sealed", "receipts"] as const;

const LEVELS = ["debug", "info", "warn", "error"] as const;

/** Where the service listens. Not hashed. */
const LISTENING = {
  port: wholeNumber(
    { name: "port", short: "p", value: "PORT", refuseEmpty: false, default: 5000, min: 1, max: 0xffff_ffff },
    "vsock port to listen on, any CID",
  ),
  listen: setting(
    { name: "listen", value: "ADDRESS", refuseEmpty: false, read: listenOption },
    "listen elsewhere: vsock:<cid>:<port>, tcp:<host>:<port>, unix:<path>",
  ),
};

/** How the service ends and logs. Not hashed. */
const RUNNING = {
  drainMs: wholeNumber(
    { name: "drain-ms", value: "MS", refuseEmpty: false, default: 5000, min: 0, max: MAX_TIMEOUT_MS },
    "time that requests under way have to finish after SIGTERM",
  ),
  logLevel: setting({
    name: "log-level",
    value: "LEVEL",
    refuseEmpty: false,
    default: "info",
    read: oneOf(LEVELS),
  }, "debug, info, warn or error"),
};

const CLOCK = {
  clock: setting(
    { name: "clock", value: "SOURCE", default: "nsm", read: oneOf(["nsm", "kernel"]) },
    "what keeps the wall clock: nsm (set from its time if more than 500 ms off), or the kernel alone",
  ),
};

const textOption = (options: Options, name: string) => options.text(name);

const kmsKeys = (parse: (text: string) => KeyArn) =>
  distinct(
    { name: "kms-key", env: "KMS_KEYS", value: "ARN", parse },
    "KMS key that requests may use; again or with commas for more",
  );

const SERVED = {
  /** Undefined where none was named: then all are served. */
  features: setting(
    { name: "features", value: "NAME,...", multiple: true, isLater: true, read: readFeatures },
    `what to serve: ${FEATURES.join(", ")}; all of them unless given, which health warns of`,
  ),
};

/** A session key's options. */
const SESSION_KEY = {
  region: setting(
    { name: "region", short: "r", value: "REGION", refuseEmpty: false, read: readRegion },
    "AWS region, if the KMS key does not say it",
  ),
  context: setting({
    name: "tsk-context",
    value: "K=V,...",
    multiple: true,
    default: "app=denclave,purpose=tsk",
    read: readContext,
  }, "EncryptionContext of the wrapped trusted session key (TSK); none if it was wrapped without one"),
  configureOnce: toggle("configure-once", "refuse a second configure"),
  requireEpoch: toggle(
    "require-epoch",
    "require an epoch in each configure, higher than the last, as part of the EncryptionContext",
  ),
  /** Implies `requireEpoch`. */
  minTskEpoch: optionalNumber(
    { name: "min-tsk-epoch", value: "N", min: 0, max: Number.MAX_SAFE_INTEGER },
    "refuse session keys of a lower epoch, also after a restart (implies --require-epoch)",
  ),
  bindProcess: toggle(
    "bind-process",
    "refuse process requests whose blobs are not bound to their direction and request",
  ),
};

const MASTER_KEY = {
  minEpoch: wholeNumber(
    { name: "min-epoch", value: "N", default: 1, min: 1, max: Number.MAX_SAFE_INTEGER },
    "refuse master keys of a lower epoch, such as an old row that was restored",
  ),
};

/** Options of the SDK's backend. */
const NITRO = {
  libraryDir: setting(
    { name: "library-dir", env: "DENCLAVE_LIBRARY_DIR", value: "DIR", refuseEmpty: false, read: textOption },
    "folder of the SDK's .so files; by default the binary's, /app, /usr/local/lib, /usr/lib64, /usr/lib. A compiled binary can open only its own folder",
  ),
  processes: wholeNumber(
    { name: "sdk-processes", value: "N", default: 1, min: 1, max: 8 },
    "processes that call KMS, 1 to 8; each makes one call at a time",
  ),
  proxyPort: wholeNumber(
    { name: "proxy-port", value: "PORT", refuseEmpty: false, default: 8000, min: 1, max: 65_535 },
    "port of the parent's vsock-proxy",
  ),
  deadlineMs: wholeNumber(
    { name: "kms-deadline-ms", value: "MS", default: 45_000, min: 10, max: 600_000 },
    "time limit of one KMS call with its second attempt; less than --request-ms",
  ),
};

/** Options of `serve` in every entry. */
export const SERVE_OPTIONS: readonly Setting<unknown>[] = [
  LISTENING,
  { keys: kmsKeys(parseKeyArn) },
  SERVED,
  SESSION_KEY,
  SEALED_OPTIONS,
  WALLET_GUARDS,
  WALLET_CACHE,
  MASTER_KEY,
  LIMIT_OPTIONS,
  WORKFLOW_OPTIONS,
  CLOCK,
  RUNNING,
].flatMap((table) => Object.values<Setting<unknown>>(table));

/** Options of the SDK's backend. */
export const NITRO_OPTIONS: readonly Setting<unknown>[] = Object.values(NITRO);

/**
 * Reads the options of the SDK's backend.
 *
 * @param requestMs time limit of one request
 * @throws {UsageError} that names the option.
 */
export function readNitroConfig(options: Options, requestMs: number): Values<typeof NITRO> {
  const config = readAll(NITRO, options);
  if (config.deadlineMs < requestMs) return config;
  throw new UsageError(
    `Cannot use ${config.deadlineMs} for --kms-deadline-ms: a request may take ${requestMs} ms in all (--request-ms)`,
    "Give less than --request-ms, so that a late KMS call is answered as one.",
  );
}

/**
 * Reads the options.
 *
 * @param parseKey reads a key's name; the production entry accepts only an ARN
 * @throws {UsageError | EnclaveError} that names the option.
 */
export function readServeConfig(options: Options, parseKey: (text: string) => KeyArn = parseKeyArn) {
  const { port, listen } = readAll(LISTENING, options);
  const session = readAll(SESSION_KEY, options);
  return {
    address: parseAddress(listen ?? `vsock:${VMADDR_CID_ANY}:${port}`),
    keys: kmsKeys(parseKey).read(options),
    ...readAll(SERVED, options),
    ...session,
    requireEpoch: session.requireEpoch || session.minTskEpoch !== undefined,
    sealed: { ...readAll(SEALED_OPTIONS, options), maxAgeMs: MAX_SEALED_AGE_MS },
    wallet: {
      guards: readAll(WALLET_GUARDS, options),
      cache: { ...readAll(WALLET_CACHE, options), maxAgeMs: CACHE_MS },
    },
    ...readAll(MASTER_KEY, options),
    limits: readLimits(options),
    /** The settings of the SDK's backend as text, by option; none in an entry without that backend. */
    sdk: Object.fromEntries(NITRO_OPTIONS.map(({ name }) => [name, options.text(name)])),
    workflow: readAll(WORKFLOW_OPTIONS, options),
    ...readAll(CLOCK, options),
    ...readAll(RUNNING, options),
  };
}

/** The parsed options of `serve`. */
export type ServeConfig = ReturnType<typeof readServeConfig>;
/** Those of the session key. */
export type SessionKeyConfig = Values<typeof SESSION_KEY>;

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

function oneOf<V extends string>(values: readonly V[]) {
  return (options: Options, name: string): V => options.choice(name, values);
}

/** In the order of {@link FEATURES}, so that the order in which they are named does not change the configuration hash. */
function readFeatures(options: Options, option: string): readonly string[] | undefined {
  const given = options.distinct(option, (text) =>
    FEATURES.find((name) => name === text) ??
      refuseValue(option, text, `Give some of ${FEATURES.join(", ")}.`));
  if (given.length === 0) return undefined;
  const { required, clientKeys } = readAll(SEALED_OPTIONS, options);
  if (!given.includes("sealed") && (required || clientKeys.length > 0)) {
    throw new UsageError(
      "--require-sealed and --client-key need the feature sealed, which --features does not name",
      "Name sealed in --features, or leave the other option out.",
    );
  }
  return FEATURES.filter((name) => given.includes(name));
}

function readRegion(options: Options, name: string): string | undefined {
  const region = options.text(name);
  if (region === undefined || isRegion(region)) return region;
  return refuseValue(name, region, "Give a region's name such as us-west-2.");
}

function readContext(options: Options, name: string): EncryptionContext | undefined {
  const given = options.list(name);
  if (given.length === 1 && given[0] === "none") return undefined;
  const parse = (text: string) =>
    /^([^=]+)=(.*)$/s.exec(text) ?? refuseValue(name, text, "Write name=value.");
  const pairs = options.distinct(name, parse, ([, key = ""]) => key);
  const context = Object.fromEntries(pairs.map(([, key = "", value = ""]) => [key, value]));
  if (!isOtherKeysContext(context)) return context;
  throw new UsageError(
    `Cannot use --${name} ${given.join(",")}: it is the context of the ${
      context["purpose"]
    } keys of this service`,
    "Their wrapped data keys would be accepted as session keys. Use another purpose, such as the default purpose=tsk.",
  );
}

/** The configuration without its listening, logging and shutdown settings: hashed into attestation documents. */
export function measuredConfiguration(config: ServeConfig): Readonly<Record<string, unknown>> {
  const { keys, sealed, wallet, limits, sdk } = config;
  return {
    version: VERSION,
    kms_keys: keys.map(({ arn }) => arn),
    ...measured(SERVED, config),
    ...measured(SESSION_KEY, config),
    ...measured(WALLET_GUARDS, wallet.guards),
    ...measured(WALLET_CACHE, wallet.cache),
    wallet_cache_ms: wallet.cache.maxAgeMs,
    ...measured(MASTER_KEY, config),
    // Left out by default, as the features are.
    ...(config.clock === "nsm" ? {} : measured(CLOCK, config)),
    ...measured(SEALED_OPTIONS, sealed),
    max_sealed_age_ms: sealed.maxAgeMs,
    // As given: the parent, which chooses the memory, must not be able to change the hash.
    limits: { ...limits, maxInFlight: limits.maxInFlight ?? null },
    ...measured(WORKFLOW_OPTIONS, config.workflow),
    sdk: NITRO_OPTIONS.map(({ name }) => [name, sdk[name] ?? null]),
  };
}
