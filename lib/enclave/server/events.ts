/**
 * The service's log: one JSON line for each event, and a bounded ring of the last ones, since a production enclave has no console.
 *
 * @module
 */
import type { Log, LogFields, LogLevel } from "../../shared/log.ts";
import { WireError } from "../../shared/wire/messages.ts";
import { redactText } from "./redaction.ts";

/** An event of the log. */
export interface ServiceEvent {
  /** Counts the events, from 1. */
  readonly seq: number;
  readonly time: string;
  readonly level: LogLevel;
  readonly event: string;
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
  /** Ends each wait for an event. */
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
    const time = this.#options.now();
    const last = this.#seq;
    let made: ServiceEvent | undefined;
    const make = () =>
      made ??= { time: time.toISOString(), level, event, ...redact(fields), seq: ++this.#seq };
    if (KEY_EVENTS.includes(event)) {
      this.#keys.set(event, [...this.#keys.get(event) ?? [], make()].slice(-KEPT_OF_EACH));
    }
    if (REFUSALS.includes(event)) {
      const kind = `${event} ${fields["type"]} ${fields["code"]}`;
      const { count = 0, ...first } = this.#refusals.get(kind) ?? make();
      this.#refusals.set(kind, { ...first, count: Number(count) + 1, last: time.toISOString() });
    }
    if (LEVELS.indexOf(level) >= LEVELS.indexOf(this.#options.level)) this.#limit(time, level, make);
    if (this.#seq > last) this.#wake();
  };

  /** Puts an event into the ring, unless there were too many in this second. */
  #limit(time: Date, level: LogLevel, make: () => ServiceEvent): void {
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
  }

  #reportSuppressed(time: Date): void {
    const lines = Object.values(this.#suppressed).reduce((sum, count) => sum + count, 0);
    if (lines === 0) return;
    const suppressed = { lines, ...this.#suppressed };
    const seq = ++this.#seq;
    this.#put({ time: time.toISOString(), level: "warn", event: "log_suppressed", ...suppressed, seq });
    this.#suppressed = {};
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
   * The events after a number, oldest first: those of the ring, and those about keys and refusals that it no longer has.
   *
   * @returns with how many between the number and the last of them are no longer kept
   */
  after(seq: number, limit: number): { readonly events: readonly ServiceEvent[]; readonly dropped: number } {
    const kept = new Map(
      [...this.recentSecurity(Infinity), ...this.recent(Infinity)].map((event) => [event.seq, event]),
    );
    const events = [...kept.values()].filter((event) => event.seq > seq)
      .sort((a, b) => a.seq - b.seq).slice(0, limit);
    return { events, dropped: (events.at(-1)?.seq ?? seq) - seq - events.length };
  }

  /**
   * Waits until there is an event after a number.
   *
   * @param until ends the wait when it settles
   * @throws {WireError} `busy` (rejects) when as many wait as may
   */
  async wait(seq: number, ms: number, until?: () => Promise<void>): Promise<void> {
    if (this.#ended || this.#seq > seq) return;
    if (this.#waiting.size >= MAX_WAITING) {
      throw new WireError("busy", `${MAX_WAITING} requests already wait for events (wait_ms)`);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    const timer = setTimeout(resolve, ms);
    until?.().then(resolve, resolve);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(resolve);
  }

  #wake(): void {
    for (const end of this.#waiting) end();
  }

  /** Ends all waits: the service stops. */
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
