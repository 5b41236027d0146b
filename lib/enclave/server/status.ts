/**
 * The server's own requests, about itself: `ping`, `health`, `logs` and `metrics`.
 *
 * @module
 */
import { VERSION } from "../../shared/version.ts";
import { field, type Reply, WireError, type WireObject } from "../../shared/wire/messages.ts";
import type { EventLog } from "./events.ts";
import type { Feature, Ports, Routes } from "./feature.ts";
import type { Metrics } from "./metrics.ts";

/** What these requests show of a service. */
export interface Shown extends Pick<Ports, "kms" | "entropy" | "aead"> {
  readonly events: EventLog;
  /** The self-test, run for every `health`. */
  readonly selfTest?: (() => Promise<readonly object[]>) | undefined;
  /** Kinds of permission that the process holds while it serves. */
  readonly permissions: readonly string[];
}

/** What these requests show of a service that runs. */
interface Running {
  readonly features: readonly Feature[];
  readonly metrics: Metrics;
  /** Warnings about the configuration. */
  readonly warnings: readonly string[];
  readonly stats: () => Readonly<Record<string, number>>;
  readonly now: () => Date;
}

const DEFAULT_EVENTS = 100;
const MAX_EVENTS = 500;

/** The routes. */
export function statusRoutes(
  { kms, entropy, aead, events, selfTest, permissions }: Shown,
  { features, metrics, warnings, stats, now }: Running,
): Routes {
  const started = now();
  const health = (self_test?: readonly object[]): Reply => ({
    status: "ok",
    ...Object.assign({}, ...features.map(({ state }) => state)),
    version: VERSION,
    uptime_s: Math.floor((now().getTime() - started.getTime()) / 1000),
    kms: kms.health(),
    aead: aead.name,
    random: entropy.random.sources,
    ...stats(),
    log_lines_dropped: events.dropped,
    warnings,
    permissions,
    ...(self_test && { self_test }),
  });
  return {
    ping: { answer: () => ({ status: "ok", msg: "pong", timestamp: now().toISOString() }) },
    health: { answer: () => selfTest?.().then(health) ?? health() },
    logs: { answer: (request) => ({ status: "ok", events: eventsFor(request, events) }) },
    metrics: { answer: () => ({ status: "ok", requests: metrics.snapshot(), ...stats() }) },
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
