/**
 * The server's own requests, about itself: `ping`, `health`, `logs` and `metrics`.
 *
 * @module
 */
import { VERSION } from "../../shared/version.ts";
import { readFields, type Values } from "../../shared/wire/fields.ts";
import { type Reply, WireError } from "../../shared/wire/messages.ts";
import { LOGS } from "../../shared/wire/requests.ts";
import type { EventLog } from "./events.ts";
import type { Call, Feature, Ports, Routes } from "./feature.ts";
import type { Metrics } from "./metrics.ts";

/** What these requests show of a service. */
export interface Shown extends Pick<Ports, "kms" | "entropy" | "aead"> {
  /** Release of the machine's kernel, where it is known. */
  readonly kernel?: string | undefined;
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
  readonly stats: () => Readonly<Record<string, number | undefined>>;
  /** Time limit of a request. Milliseconds. */
  readonly requestMs: number;
}

const DEFAULT_EVENTS = 100;
const MAX_EVENTS = 500;
const MAX_WAIT_MS = 30_000;

/** The routes. */
export function statusRoutes(
  { kms, entropy, aead, kernel, bootId, now, monotonic, events, selfTest, permissions }: Shown & Ports,
  { features, metrics, warnings, stats, requestMs }: Running,
): Routes {
  const started = monotonic();
  const health = (self_test?: readonly object[]): Reply => ({
    status: "ok",
    ...Object.assign({}, ...features.map(({ state }) => state)),
    version: VERSION,
    boot_id: bootId,
    kernel,
    uptime_s: Math.floor((monotonic() - started) / 1000),
    kms: kms.health(),
    aead: aead.name,
    random: entropy.random.sources,
    ...stats(),
    log_lines_dropped: events.dropped,
    warnings,
    permissions,
    ...(self_test && { self_test }),
  });
  const logs = async (asked: Values<typeof LOGS>, more: Call["more"]): Promise<Reply> => {
    const { security = false, after, boot_id = bootId, wait_ms = 0 } = asked;
    const limit = Math.min(asked.limit ?? (security ? MAX_EVENTS : DEFAULT_EVENTS), MAX_EVENTS);
    if (after === undefined) {
      const kept = events[security ? "recentSecurity" : "recent"](limit);
      return { status: "ok", events: kept, boot_id: bootId };
    }
    if (security) throw new WireError("missing_fields", "Field security does not go with after");
    const ms = Math.min(wait_ms, MAX_WAIT_MS, requestMs / 2);
    const found = await events.follow(boot_id === bootId ? after : 0, limit, { ms, more });
    return { status: "ok", ...found, boot_id: bootId };
  };
  return {
    ping: { answer: () => ({ status: "ok", msg: "pong", timestamp: now().toISOString() }) },
    health: { answer: () => selfTest?.().then(health) ?? health() },
    logs: { answer: (request, { more }) => logs(readFields(request, LOGS), more) },
    metrics: { answer: () => ({ status: "ok", requests: metrics.snapshot(), ...stats() }) },
  };
}
