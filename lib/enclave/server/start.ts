/**
 * Assembles the service from its parts and starts it; stopping it lets requests in progress end.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { type Measurements, observeDenials } from "../kms/observed.ts";
import { WireError } from "../../shared/wire/messages.ts";
import type { Address } from "../../shared/wire/address.ts";
import { createDispatcher } from "./dispatch.ts";
import { isEntropyTrusted } from "./entropy.ts";
import type { Feature, Ports, Routes } from "./feature.ts";
import type { Limits } from "../../shared/cli/limits.ts";
import { createMemory } from "./memory_budget.ts";
import { Metrics } from "./metrics.ts";
import { type Acceptor, Server } from "./server.ts";
import { type Shown, statusRoutes } from "./status.ts";
import { createTurnEnd } from "./turn.ts";

/** What an entry opens before it listens. */
export interface ServiceParts extends Omit<Shown, "permissions"> {
  /** The NSM, where there is one. */
  readonly attester?: Ports["attester"];
  /** PCRs of this image, where there is an NSM: shown when KMS denies access. */
  readonly measurements?: Measurements | undefined;
  /** Warnings, logged and shown in `health`. */
  readonly warnings?: readonly string[];
  /** The machine's memory, where it is known: shown beside what messages may take of it. Bytes. */
  readonly memory?: number | undefined;
  /** Makes all features that there are. */
  readonly features: (ports: Ports) => readonly Feature[];
}

/** A service's parts and settings. */
export interface ServiceOptions extends ServiceParts, Shown, Pick<Ports, "keys" | "configurationHash"> {
  readonly acceptor: Acceptor;
  readonly transport: Address["transport"];
  readonly limits: Limits;
  /** Names of the features to serve: the others are switched off. */
  readonly served: readonly string[];
  /** By how much the clock was ahead of the NSM's, where it is known. Milliseconds. */
  readonly clockAhead?: (() => number | undefined) | undefined;
  readonly now?: () => Date;
  /** Milliseconds. */
  readonly monotonic?: () => number;
}

/** A running service. */
export interface Service {
  /** Lets requests in progress end, for at most this many milliseconds; then wipes the keys and closes the KMS. */
  stop(withinMs: number): Promise<void>;
}

function warningsOf({ kms, keys }: Ports): readonly string[] {
  if (!kms.attested) return ["development KMS: keys are not bound to an attested enclave"];
  return keys.length > 0 ? [] : [
    "no KMS key is allowed (--kms-key, KMS_KEYS): every configure, account and master key is refused",
  ];
}

/** Known once the KMS is open. */
function entropyWarnings(ports: Ports): readonly string[] {
  const { kms } = ports;
  if (!kms.attested || kms.entropySeeded !== false) return [];
  const consequence = isEntropyTrusted(ports)
    ? ", but the kernel's own generator is the NSM's"
    : ": no key is made, and process is refused";
  return [`the kernel's entropy pool was not seeded from the NSM${consequence}`];
}

/**
 * What stands in for a feature that the measured configuration does not name: each of its requests is
 * answered `feature_off`, and nothing of it is in `health`.
 *
 * @param feature disposed of
 */
function switchedOff(feature: Feature): Feature {
  const { name, routes, apiRoutes } = feature;
  feature[Symbol.dispose]();
  const answer = () => {
    throw new WireError(
      "feature_off",
      `The feature ${name} is switched off in this image: to serve it, build one that names it in --features (FEATURES)`,
    );
  };
  const refuse = (all: Routes = {}): Routes =>
    Object.fromEntries(Object.keys(all).map((request) => [request, { answer }]));
  return {
    name,
    routes: refuse({ ...routes, ...feature.outerRoutes?.(answer) }),
    apiRoutes: refuse(apiRoutes),
    state: {},
    warnings: [],
    [Symbol.dispose]: () => {},
  };
}

/** Starts the service on an open listener. */
export function startService(options: ServiceOptions): Service {
  const { events: { log }, limits, keys, entropy, attester, aead, configurationHash } = options;
  const { now = () => new Date(), monotonic = () => performance.now() } = options;
  const kms = observeDenials(options.kms, () => {
    for (const feature of features) feature.forget?.();
  }, options.measurements);
  const bootId = encodeHex(entropy.random.bytes(16));
  const ports: Ports = { kms, keys, entropy, attester, aead, configurationHash, log, now, monotonic, bootId };
  const features = options.features(ports).map((feature) =>
    options.served.includes(feature.name) ? feature : switchedOff(feature)
  );
  const metrics = new Metrics();
  const warnings: string[] = [];
  const warn = (found: readonly string[]) => {
    warnings.push(...found);
    for (const warning of found) log("warn", "configuration", { warning });
  };
  warn([
    ...warningsOf(ports),
    ...features.flatMap((feature) => feature.warnings),
    ...options.warnings ?? [],
  ]);
  void kms.opened?.then(() => warn(entropyWarnings(ports)), () => {});
  const memory = createMemory(limits.maxInFlight);
  const stats = () => ({
    ...server.stats,
    memory_in_flight: memory.buffers.used + memory.requests.used,
    memory_budget: limits.maxInFlight,
    memory_total: options.memory,
    clock_difference_ms: options.clockAhead?.(),
  });
  const routes = statusRoutes({ ...options, ...ports }, { ...limits, features, metrics, warnings, stats });
  const server = new Server(options.acceptor, {
    handler: createDispatcher([{ routes }, ...features], { requestMemory: memory.requests, log }),
    limits,
    memory,
    transport: options.transport,
    log,
    metrics,
    now: () => performance.now(),
    turnEnd: createTurnEnd(),
  });
  return {
    stop: async (withinMs: number) => {
      log("info", "draining", { connections: server.stats.connections });
      options.events.end();
      await server.drain(withinMs);
      for (const feature of features) feature[Symbol.dispose]();
      await kms[Symbol.asyncDispose]();
      log("info", "stopped");
    },
  };
}
