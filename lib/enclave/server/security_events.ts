/**
 * The events that an operator must still find after an attack: about keys, and about what was refused. They
 * are kept apart from the log's ring and its rate limit, so that no number of requests displaces them.
 *
 * @module
 */
import type { LogFields } from "../../shared/log.ts";
import type { ServiceEvent } from "./events.ts";

/** Keys that were made, opened, rewrapped, taken into use: the last of each are kept. */
const KEY_EVENTS: readonly string[] = [
  "configured",
  "account_generated",
  "master_key_initialised",
  "master_key_rewrapped",
];
const KEPT_OF_EACH = 32;
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

/** Whether an event is kept here. */
export function isSecurityEvent(event: string): boolean {
  return KEY_EVENTS.includes(event) || REFUSALS.includes(event);
}

/** Keeps them. */
export class SecurityEvents {
  /** By name, oldest first. */
  #keys = new Map<string, readonly ServiceEvent[]>();
  #refusals = new Map<string, { readonly first: ServiceEvent; count: number; last: Date }>();

  /**
   * Keeps a security event.
   *
   * @param make makes the event, without secrets
   */
  keep(
    { event, fields, time }: { readonly event: string; readonly fields: LogFields; readonly time: Date },
    make: () => ServiceEvent,
  ): void {
    if (KEY_EVENTS.includes(event)) {
      this.#keys.set(event, [...this.#keys.get(event) ?? [], make()].slice(-KEPT_OF_EACH));
      return;
    }
    const kind = `${event} ${fields["type"]} ${fields["code"]}`;
    const same = this.#refusals.get(kind);
    if (same === undefined) this.#refusals.set(kind, { first: make(), count: 1, last: time });
    else {
      same.count++;
      same.last = time;
    }
  }

  /** The newest, oldest first. */
  recent(limit: number): readonly ServiceEvent[] {
    const refusals: readonly ServiceEvent[] = [...this.#refusals.values()]
      .map(({ first, count, last }) => ({ ...first, count, last: last.toISOString() }));
    return [...[...this.#keys.values()].flat(), ...refusals]
      .sort((a, b) => a.time < b.time ? -1 : a.time > b.time ? 1 : 0).slice(-limit);
  }
}
