/**
 * The server's own requests, about itself: `ping`, `health`, `logs` and `metrics`.
 *
 * @module
 */
import type { Aead } from "../../shared/crypto/aead.ts";
import { field, type Reply, WireError, type WireObject } from "../../shared/wire/messages.ts";
import type { Kms } from "../kms/kms.ts";
import type { EventLog } from "./events.ts";
import type { EntropySource, Feature, Routes } from "./feature.ts";
import type { Metrics } from "./metrics.ts";

/** What these requests show. */
interface StatusOptions {
  readonly features: readonly Feature[];
  readonly kms: Kms;
  readonly aead: Aead;
  readonly entropy: EntropySource;
  readonly events: EventLog;
  readonly metrics: Metrics;
  readonly version: string;
  /** Warnings about the configuration. */
  readonly warnings: readonly string[];
  /** The self-test, run for every `health`. */
  readonly selfTest?: (() => Promise<readonly object[]>) | undefined;
  readonly serverStats: () => Readonly<Record<string, number>>;
  /** Kinds of permission that the process holds. */
  readonly permissions: readonly string[];
  readonly now: () => Date;
}

const DEFAULT_EVENTS = 100;
const MAX_EVENTS = 500;

/** The routes. */
export function statusRoutes(options: StatusOptions): Routes {
  const { features, kms, entropy, events, now } = options;
  const started = now();

  const health = (selfTest?: readonly object[]): Reply => ({
    status: "ok",
    ...Object.assign({}, ...features.map(({ state }) => state)),
    version: options.version,
    uptime_s: Math.floor((now().getTime() - started.getTime()) / 1000),
    kms: kms.health(),
    aead: options.aead.name,
    random: entropy.random.sources,
    ...options.serverStats(),
    log_lines_dropped: events.dropped,
    warnings: options.warnings,
    permissions: options.permissions,
    ...(selfTest === undefined ? {} : { self_test: selfTest }),
  });

  return {
    ping: { answer: () => ({ status: "ok", msg: "pong", timestamp: now().toISOString() }) },
    health: { answer: () => options.selfTest?.().then(health) ?? health() },
    logs: { answer: (request) => ({ status: "ok", events: eventsFor(request, events) }) },
    metrics: {
      answer: () => ({ status: "ok", requests: options.metrics.snapshot(), ...options.serverStats() }),
    },
  };
}

function eventsFor(request: WireObject, events: EventLog): readonly object[] {
  const security = field(request, "security") ?? false;
  if (typeof security !== "boolean") {
    throw new WireError("missing_fields", "Field security must be true or false");
  }
  const limit = field(request, "limit") ?? (security ? MAX_EVENTS : DEFAULT_EVENTS);
  if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 1) {
    throw new WireError("missing_fields", "Field limit must be a whole number from 1");
  }
  return events[security ? "recentSecurity" : "recent"](Math.min(limit, MAX_EVENTS));
}
