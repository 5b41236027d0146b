/**
 * The service's log: one JSON line for each event, and a bounded ring of the last ones, since a production enclave has no console.
 *
 * @module
 */
import type { Log, LogFields, LogLevel } from "../../shared/log.ts";
import { redactText } from "./redaction.ts";
import { isSecurityEvent, SecurityEvents } from "./security_events.ts";

/** An event of the log. */
export interface ServiceEvent {
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

const ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Keeps and writes events. */
export class EventLog {
  /** Those that no number of requests displaces. */
  readonly security: SecurityEvents = new SecurityEvents();
  #options: Required<EventLogOptions>;
  #ring: ServiceEvent[] = [];
  #oldest = 0;
  #second = 0;
  #linesThisSecond = 0;
  /** Lines that the rate limit dropped and that were not yet reported, by level. */
  #suppressed = { debug: 0, info: 0, warn: 0 };
  #dropped = 0;

  constructor(options: EventLogOptions) {
    this.#options = { keep: 500, linesPerSecond: 200, now: () => new Date(), ...options };
  }

  /** The log function for other modules. */
  readonly log: Log = (level, event, fields = {}) => {
    const isHidden = ORDER[level] < ORDER[this.#options.level];
    const isSecurity = isSecurityEvent(event);
    if (isHidden && !isSecurity) return;
    const time = this.#options.now();
    const make = (): ServiceEvent => ({ time: time.toISOString(), level, event, ...redact(fields) });
    if (isSecurity) this.security.keep({ event, fields, time }, make);
    if (isHidden) return;
    const second = Math.floor(time.getTime() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#linesThisSecond = 0;
      this.#tellSuppressed(time);
    }
    if (++this.#linesThisSecond > this.#options.linesPerSecond && level !== "error") {
      this.#suppressed[level]++;
      this.#dropped++;
      return;
    }
    this.#put(make());
  };

  /** Total number of lines that the rate limit has dropped. */
  get dropped(): number {
    return this.#dropped;
  }

  #tellSuppressed(time: Date): void {
    const { debug, info, warn } = this.#suppressed;
    const lines = debug + info + warn;
    if (lines === 0) return;
    this.#suppressed = { debug: 0, info: 0, warn: 0 };
    const byLevel = Object.fromEntries(
      Object.entries({ debug, info, warn }).filter(([, count]) => count > 0),
    );
    this.#put({ time: time.toISOString(), level: "warn", event: "log_suppressed", lines, ...byLevel });
  }

  #put(event: ServiceEvent): void {
    if (this.#ring.length < this.#options.keep) this.#ring.push(event);
    else {
      this.#ring[this.#oldest] = event;
      this.#oldest = (this.#oldest + 1) % this.#options.keep;
    }
    try {
      this.#options.write(`${JSON.stringify(event)}\n`);
    } catch {
      // The reader has closed the pipe: the ring still has the event, and the service goes on.
    }
  }

  /** The newest events, oldest first; one of them reports what the rate limit has dropped so far. */
  recent(limit: number): readonly ServiceEvent[] {
    this.#tellSuppressed(this.#options.now());
    const ordered = [...this.#ring.slice(this.#oldest), ...this.#ring.slice(0, this.#oldest)];
    return limit <= 0 ? [] : ordered.slice(-limit);
  }
}

function redact(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === "string" ? redactText(value) : value,
    ]),
  );
}
