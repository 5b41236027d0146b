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
