/**
 * Log events: a name and plain fields, never a payload, a credential or a key.
 *
 * @module
 */

/** The severity of an event. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Fields of an event: flat, printable. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Receives an event. Must not throw. */
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

const MAX_FIELDS = 32;
const MAX_NAME = 64;
const MAX_TEXT = 1_000;

/** Any value as a text that a log line may hold. */
export function shortText(value: unknown): string {
  return String(value).slice(0, MAX_TEXT);
}

/** Fields made of what others give, whatever it is. */
export function plainFields(given: unknown): LogFields {
  const entries = typeof given === "object" && given !== null ? Object.entries(given) : [];
  return Object.fromEntries(
    entries.slice(0, MAX_FIELDS).map(([name, value]: [string, unknown]) => [
      name.slice(0, MAX_NAME),
      typeof value === "number" || typeof value === "boolean" ? value : shortText(value),
    ]),
  );
}
