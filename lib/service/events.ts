/**
 * What the service says: one JSON line an event, and a bounded ring of the last ones, since a production enclave has no console.
 *
 * @module
 */
import type { Log, LogFields, LogLevel } from "../log.ts";

/** An event, as it is kept and written. */
export interface ServiceEvent {
  readonly time: string;
  readonly level: LogLevel;
  readonly event: string;
  readonly [field: string]: string | number | boolean | undefined;
}

/** Options of an {@link EventLog}. */
export interface EventLogOptions {
  /** Takes a line, newline included. Synchronous, so that the last line before a crash is not lost. */
  readonly write: (line: string) => void;
  readonly level: LogLevel;
  /** Events kept. */
  readonly keep?: number;
  /** Lines a second; the rest is counted and said in one line, so that bad requests cannot flood the log. */
  readonly linesPerSecond?: number;
  readonly now?: () => Date;
}

const ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const MAX_FIELD_LENGTH = 500;
/** Access key ids, and runs of hex or base64 as long as a key's: of what belongs into a log, PCRs alone look like these. */
const LOOKS_SECRET = /A[KS]IA[A-Z0-9]{8,}|[A-Za-z0-9+/]{40,}={0,2}/g;
/** A PCR is a SHA-384 hash, and public. No key or signature in here has 48 bytes. */
const PCR = /^[0-9a-f]{96}$/;

/** A long path is made of the same letters as base64, but of small ones. */
function hide(run: string): string {
  if (PCR.test(run)) return run;
  return /[a-z]/.test(run) && !/[A-Z]/.test(run) && !/[0-9a-f]{64,}/.test(run) ? run : "[redacted]";
}

/** Keeps and writes events. */
export class EventLog {
  #options: Required<EventLogOptions>;
  #ring: ServiceEvent[] = [];
  #oldest = 0;
  #second = 0;
  #linesThisSecond = 0;
  /** Lines that the rate limit dropped and that no line has told of yet, by level. */
  #suppressed = { debug: 0, info: 0, warn: 0 };
  #dropped = 0;

  constructor(options: EventLogOptions) {
    this.#options = { keep: 500, linesPerSecond: 200, now: () => new Date(), ...options };
  }

  /** The function to hand to others. */
  readonly log: Log = (level, event, fields = {}) => {
    if (ORDER[level] < ORDER[this.#options.level]) return;
    const time = this.#options.now();
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
    this.#put({ time: time.toISOString(), level, event, ...redact(fields) });
  };

  /** Lines that the rate limit has dropped, in all. */
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
      // Nobody reads: the ring still has it, and a service does not stop for that.
    }
  }

  /** The newest events, oldest first; what the rate limit has dropped so far is told in one of them. */
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

function redactText(text: string): string {
  // What is cut off may have been the rest of a long run: then its beginning goes as well.
  const looked = text.length <= 2 * MAX_FIELD_LENGTH
    ? text
    : text.slice(0, 2 * MAX_FIELD_LENGTH).replace(/[A-Za-z0-9+/=]+$/, "");
  return looked.replace(LOOKS_SECRET, hide).slice(0, MAX_FIELD_LENGTH);
}
