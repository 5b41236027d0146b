/**
 * The service's log: one JSON line for each event, and a bounded ring of the last ones, since a production enclave has no console.
 *
 * @module
 */
import type { Log, LogFields, LogLevel } from "../../shared/log.ts";
import { WireError } from "../../shared/wire/messages.ts";
import type { Call } from "./feature.ts";
import { redactText } from "./redaction.ts";

/** An event of the log. */
export interface ServiceEvent {
  readonly time: string;
  readonly level: LogLevel;
  readonly event: string;
  /** Counts the kept events, from 1. */
  readonly seq: number;
  readonly [field: string]: string | number | boolean | undefined;
}

/** Options of an {@link EventLog}. */
interface EventLogOptions {
  /** Writes a line, including the newline. Synchronous, so that the last line before a crash is not lost. */
  readonly write: (line: string) => void;
  readonly level: LogLevel;
  /** Number of events kept. */
  readonly keep?: number;
  /** Lines per second; the rest is counted and reported in one line, so that bad requests cannot flood the log. */
  readonly linesPerSecond?: number;
  readonly now?: () => Date;
}

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Keys that were made, opened, rewrapped, taken into use: the last of each are kept. */
const KEY_EVENTS: readonly string[] = [
  "configured",
  "account_generated",
  "account_rewrapped",
  "master_key_initialised",
  "master_key_rewrapped",
];
const KEPT_OF_EACH = 32;
/** Each keeps a connection. */
const MAX_WAITING = 2;
/**
 * A client can cause any number of these, so the first of each `type` and `code` is kept and the others are
 * counted. Both are constants of this program.
 */
const REFUSALS: readonly string[] = [
  "request_failed",
  "sealed_request_failed",
  "configure_failed",
  "master_key_kms_failed",
  "wallet_kms_failed",
];

/**
 * Keeps and writes events. Those about keys and refusals, which an operator must still find after an attack,
 * are kept apart from the ring and its rate limit, so that no number of requests displaces them.
 */
export class EventLog {
  #options: Required<EventLogOptions>;
  /** Oldest first. */
  #ring: ServiceEvent[] = [];
  /** By name, oldest first. */
  #keys = new Map<string, readonly ServiceEvent[]>();
  /** By name, `type` and `code`. */
  #refusals = new Map<string, ServiceEvent & { readonly count: number }>();
  #seq = 0;
  /** What ends each wait for an event. */
  #waiting = new Set<() => void>();
  #ended = false;
  #second = 0;
  #linesThisSecond = 0;
  /** Lines that the rate limit dropped and that were not yet reported, by level. */
  #suppressed: Readonly<Record<string, number>> = {};
  /** Total number of lines that the rate limit has dropped. */
  dropped = 0;

  constructor(options: EventLogOptions) {
    this.#options = { keep: 500, linesPerSecond: 200, now: () => new Date(), ...options };
  }

  /** The log function for other modules. */
  readonly log: Log = (level, event, fields = {}) => {
    // Each request is logged at this level.
    if (level === "debug" && this.#options.level !== "debug") return;
    const time = this.#options.now();
    let made: ServiceEvent | undefined;
    const make = () => made ??= this.#make(time, level, event, redact(fields));
    if (KEY_EVENTS.includes(event)) {
      this.#keys.set(event, [...this.#keys.get(event) ?? [], make()].slice(-KEPT_OF_EACH));
    }
    if (REFUSALS.includes(event)) {
      const kind = `${event} ${fields["type"]} ${fields["code"]}`;
      const { count = 0, ...first } = this.#refusals.get(kind) ?? make();
      this.#refusals.set(kind, { ...first, count: Number(count) + 1, last: time.toISOString() });
    }
    if (LEVELS.indexOf(level) < LEVELS.indexOf(this.#options.level)) return;
    const second = Math.floor(time.getTime() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#linesThisSecond = 0;
      this.#reportSuppressed(time);
    }
    if (++this.#linesThisSecond > this.#options.linesPerSecond && level !== "error") {
      this.#suppressed = { ...this.#suppressed, [level]: (this.#suppressed[level] ?? 0) + 1 };
      this.dropped++;
    } else this.#put(make());
  };

  #reportSuppressed(time: Date): void {
    const lines = Object.values(this.#suppressed).reduce((sum, count) => sum + count, 0);
    if (lines === 0) return;
    this.#put(this.#make(time, "warn", "log_suppressed", { lines, ...this.#suppressed }));
    this.#suppressed = {};
  }

  #make(time: Date, level: LogLevel, event: string, fields: LogFields): ServiceEvent {
    this.#wake();
    return { time: time.toISOString(), level, event, ...fields, seq: ++this.#seq };
  }

  #wake(): void {
    for (const end of this.#waiting) end();
  }

  #put(event: ServiceEvent): void {
    this.#ring.push(event);
    if (this.#ring.length > this.#options.keep) this.#ring.shift();
    try {
      this.#options.write(`${JSON.stringify(event)}\n`);
    } catch {
      // The reader has closed the pipe: the ring still has the event, and the service goes on.
    }
  }

  /** The newest events, oldest first; one of them reports what the rate limit has dropped so far. */
  recent(limit: number): readonly ServiceEvent[] {
    this.#reportSuppressed(this.#options.now());
    return this.#ring.slice(Math.max(0, this.#ring.length - limit));
  }

  /** The newest events about keys and refusals, oldest first. */
  recentSecurity(limit: number): readonly ServiceEvent[] {
    return [...[...this.#keys.values()].flat(), ...this.#refusals.values()]
      .sort((a, b) => a.seq - b.seq).slice(-limit);
  }

  /**
   * The events after a number, oldest first: the ring's, and those about keys and refusals that it no longer has.
   *
   * @param ms how long to wait for one where there is none
   * @param more ends the wait when it settles
   * @returns with how many between the number and the last of them are no longer kept
   * @throws {WireError} `busy` (rejects) when as many wait as may
   */
  async follow(
    after: number,
    limit: number,
    { ms, more }: { readonly ms: number; readonly more: Call["more"] },
  ): Promise<{ readonly events: readonly ServiceEvent[]; readonly dropped: number }> {
    if (ms > 0 && this.#seq <= after && !this.#ended) {
      if (this.#waiting.size >= MAX_WAITING) {
        throw new WireError("busy", `${MAX_WAITING} requests already wait for events (wait_ms)`);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      const timer = setTimeout(resolve, ms);
      more?.().then(resolve, resolve);
      await promise;
      clearTimeout(timer);
      this.#waiting.delete(resolve);
    }
    const kept = [...this.recentSecurity(Infinity), ...this.recent(Infinity)];
    const newer = kept.filter(({ seq }) => seq > after).map((event) => [event.seq, event] as const);
    const events = [...new Map(newer).values()].sort((a, b) => a.seq - b.seq).slice(0, limit);
    return { events, dropped: (events.at(-1)?.seq ?? after) - after - events.length };
  }

  /** Ends all waits, since the service stops. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }
}

function redact(fields: LogFields): LogFields {
  const redacted = ([name, value]: [string, LogFields[string]]) =>
    [name, typeof value === "string" ? redactText(value) : value] as const;
  return Object.fromEntries(Object.entries(fields).map(redacted));
}
