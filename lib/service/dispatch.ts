/**
 * From a request's `type` to the part that answers it, and from whatever that throws to an error reply.
 *
 * @module
 */
import { OpenError } from "../crypto/sealing.ts";
import { EnclaveError, messageOf } from "../errors.ts";
import type { Kms } from "../kms/kms.ts";
import type { Log } from "../log.ts";
import { errorReply, field, type Reply, WireError, type WireObject } from "../wire/messages.ts";
import type { Answer, Handler, PreparedReply } from "./connection.ts";
import type { EventLog } from "./events.ts";
import type { Metrics } from "./metrics.ts";
import { kmsFailure, type SessionService } from "./session.ts";

/** What the dispatcher connects. */
export interface DispatchOptions {
  readonly session: SessionService;
  readonly kms: Kms;
  readonly events: EventLog;
  readonly metrics: Metrics;
  readonly version: string;
  /** What `health` warns of: things in the configuration that a person should know. */
  readonly warnings: readonly string[];
  readonly serverStats: () => Readonly<Record<string, number>>;
  readonly log: Log;
  readonly now: () => Date;
}

const MAX_EVENTS = 500;

type Route = (request: WireObject) => Reply | PreparedReply | Promise<Reply | PreparedReply>;

/** Makes the handler of all requests. */
export function createDispatcher(options: DispatchOptions): Handler {
  const { session, kms, events, metrics, now } = options;
  const started = now();

  const routes = new Map<string, Route>([
    ["ping", () => ({ status: "ok", msg: "pong", timestamp: now().toISOString() })],
    ["health", () => ({
      status: "ok",
      ...session.state,
      version: options.version,
      uptime_s: Math.floor((now().getTime() - started.getTime()) / 1000),
      kms: kms.health(),
      ...options.serverStats(),
      warnings: options.warnings,
    })],
    ["configure", (request) => session.configure(request)],
    ["process", (request) => session.process(request)],
    ["logs", (request) => ({ status: "ok", events: events.recent(limitOf(request)) })],
    ["metrics", () => ({ status: "ok", requests: metrics.snapshot(), ...options.serverStats() })],
  ]);
  const known = [...routes.keys()].join(", ");

  function failure(type: string, thrown: unknown): Answer {
    return { type, reply: replyTo(thrown, type, options.log) };
  }

  return (request) => {
    const type = field(request, "type");
    const route = typeof type === "string" ? routes.get(type) : undefined;
    if (typeof type !== "string" || route === undefined) {
      const details = type === undefined
        ? `Field type is missing; known types: ${known}`
        : `Known types: ${known}`;
      return {
        type: "unknown",
        reply: errorReply(type === undefined ? "missing_fields" : "unknown_type", details),
      };
    }
    try {
      const reply = route(request);
      if (!(reply instanceof Promise)) return { type, reply };
      return reply.then((settled) => ({ type, reply: settled }), (thrown) => failure(type, thrown));
    } catch (thrown) {
      return failure(type, thrown);
    }
  };
}

function limitOf(request: WireObject): number {
  const limit = field(request, "limit") ?? 100;
  if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 1) {
    throw new WireError("missing_fields", "Field limit must be a whole number from 1");
  }
  return Math.min(limit, MAX_EVENTS);
}

function classOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.constructor.name : typeof thrown;
}

/** The wire gets a code and fixed words; the cause stays in the log. */
function replyTo(thrown: unknown, type: string, log: Log): Reply {
  if (thrown instanceof WireError) return errorReply(thrown.code, thrown.message);
  if (thrown instanceof OpenError) return errorReply("decrypt_failed", thrown.message);
  if (thrown instanceof EnclaveError && thrown.code === "rekey_required") {
    return errorReply("rekey_required", thrown.message);
  }
  if (thrown instanceof EnclaveError && type === "configure") {
    log("error", "configure_failed", { code: thrown.code, reason: thrown.message, hint: thrown.hint });
    const wire = kmsFailure(thrown);
    return errorReply(wire.code, wire.message);
  }
  // A workflow's words may be made of the data: its class is all that the log gets.
  const reason = type === "process" && !(thrown instanceof EnclaveError)
    ? classOf(thrown)
    : messageOf(thrown);
  log("error", "internal_error", { type, reason });
  return errorReply("internal_error", "The request failed inside: see logs");
}
