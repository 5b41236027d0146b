/**
 * Puts the service together from its parts and starts it; the counterpart ends it without losing what is under way.
 *
 * @module
 */
import type { Kms } from "../kms/kms.ts";
import type { Address } from "../wire/address.ts";
import { createDispatcher } from "./dispatch.ts";
import type { EventLog } from "./events.ts";
import type { Limits } from "./limits.ts";
import { Metrics } from "./metrics.ts";
import { type Acceptor, Server } from "./server.ts";
import { type SessionOptions, SessionService } from "./session.ts";
import { createTurnEnd } from "./turn.ts";

/** What a service is made of. */
export interface ServiceOptions {
  readonly kms: Kms;
  readonly acceptor: Acceptor;
  readonly transport: Address["transport"];
  readonly limits: Limits;
  readonly session: Omit<SessionOptions, "kms" | "log" | "now">;
  readonly events: EventLog;
  readonly version: string;
  readonly now?: () => Date;
}

/** A service that runs. */
export interface Service {
  /** Lets requests under way end, for so many milliseconds; then wipes the keys and lets the KMS go. */
  stop(withinMs: number): Promise<void>;
}

function warningsOf({ kms, session }: ServiceOptions): readonly string[] {
  const warnings: string[] = [];
  if (!kms.attested) warnings.push("development KMS: keys are not bound to an attested enclave");
  if (kms.attested && session.keys.length === 0) {
    warnings.push("no KMS key is allowed (--kms-key, KMS_KEYS): every configure is refused");
  }
  if (kms.attested && kms.health()["entropy_seeded"] === false) {
    warnings.push("the kernel's entropy pool was not seeded from the NSM");
  }
  return warnings;
}

/** Starts the service on an open listener. */
export function startService(options: ServiceOptions): Service {
  const { kms, events, limits, acceptor, transport } = options;
  const { log } = events;
  const now = options.now ?? (() => new Date());
  const metrics = new Metrics();
  const warnings = warningsOf(options);
  for (const warning of warnings) log("warn", "configuration", { warning });

  const session = new SessionService({ ...options.session, kms, log, now });
  const handler = createDispatcher({
    session,
    kms,
    events,
    metrics,
    log,
    now,
    warnings,
    version: options.version,
    serverStats: () => server.stats,
  });
  const server = new Server(acceptor, {
    handler,
    limits,
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
      await kms[Symbol.asyncDispose]();
      log("info", "stopped");
    },
  };
}
