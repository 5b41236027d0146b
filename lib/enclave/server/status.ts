/**
 * The server's own requests, about itself: `ping`, `health`, `logs` and `metrics`.
 *
 * @module
 */
import { VERSION } from "../../shared/version.ts";
import { readFields } from "../../shared/wire/fields.ts";
import { field, type Reply, WireError, type WireObject } from "../../shared/wire/messages.ts";
import { FOLLOW } from "../../shared/wire/requests.ts";
import type { EventLog } from "./events.ts";
import type { Call, Feature, Ports, Routes } from "./feature.ts";
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
interface Running extends Pick<Ports, "bootId" | "now" | "monotonic"> {
  readonly features: readonly Feature[];
  readonly metrics: Metrics;
  /** Warnings about the configuration. */
  readonly warnings: readonly string[];
  readonly stats: () => Readonly<Record<string, number>>;
  /** Time limit of a request. Milliseconds. */
  readonly requestMs: number;
}

const DEFAULT_EVENTS = 100;
const MAX_EVENTS = 500;
const MAX_WAIT_MS = 30_000;

/** The routes. */
export function statusRoutes(
  { kms, entropy, aead, events, selfTest, permissions }: Shown,
  { features, metrics, warnings, stats, bootId, now, monotonic, requestMs }: Running,
): Routes {
  const started = monotonic();
  const following = { events, bootId, maxWaitMs: Math.min(MAX_WAIT_MS, requestMs / 2) };
  const health = (self_test?: readonly object[]): Reply => ({
    status: "ok",
    ...Object.assign({}, ...features.map(({ state }) => state)),
    version: VERSION,
    boot_id: bootId,
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
  return {
    ping: { answer: () => ({ status: "ok", msg: "pong", timestamp: now().toISOString() }) },
    health: { answer: () => selfTest?.().then(health) ?? health() },
    logs: { answer: (request, call) => answerLogs(request, call, following) },
    metrics: { answer: () => ({ status: "ok", requests: metrics.snapshot(), ...stats() }) },
  };
}

interface Following {
  readonly events: EventLog;
  readonly bootId: string;
  readonly maxWaitMs: number;
}

function answerLogs(request: WireObject, { more }: Call, following: Following): Reply | Promise<Reply> {
  const { events, bootId, maxWaitMs } = following;
  const security = field(request, "security") ?? false;
  if (typeof security !== "boolean") {
    throw new WireError("missing_fields", "Field security must be true or false");
  }
  const limit = field(request, "limit") ?? (security ? MAX_EVENTS : DEFAULT_EVENTS);
  if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 1) {
    throw new WireError("missing_fields", "Field limit must be a whole number from 1");
  }
  const { after, boot_id = bootId, wait_ms = 0 } = readFields(request, FOLLOW);
  const most = Math.min(limit, MAX_EVENTS);
  if (after === undefined) {
    const kept = events[security ? "recentSecurity" : "recent"](most);
    return { status: "ok", events: kept, boot_id: bootId };
  }
  if (security) {
    throw new WireError(
      "missing_fields",
      "Field security does not go with after, which finds these events too",
    );
  }
  const seq = boot_id === bootId ? after : 0;
  return follow(following, { seq, limit: most, ms: Math.min(wait_ms, maxWaitMs), more });
}

async function follow(
  { events, bootId }: Following,
  { seq, limit, ms, more }: {
    readonly seq: number;
    readonly limit: number;
    readonly ms: number;
    readonly more: Call["more"];
  },
): Promise<Reply> {
  if (ms > 0) await events.wait(seq, ms, more);
  return { status: "ok", ...events.after(seq, limit), boot_id: bootId };
}
