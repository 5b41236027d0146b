/**
 * What a part of the program says about itself: an event with a name and plain fields, never a payload, a credential or a key.
 *
 * @module
 */

/** How much an event matters. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Fields of an event: flat, printable. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Takes an event. Must not throw. */
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

/** For those who want no log. */
export const silentLog: Log = () => {};
