/**
 * The service's limits: every wait has a deadline, every buffer a cap.
 *
 * @module
 */
import { DEFAULT_MAX_LENGTH } from "../wire/framing.ts";

/** Limits on connections and requests. */
export interface Limits {
  /** The largest message, bytes. */
  readonly maxMessage: number;
  /** Connections served at a time; further ones are answered `busy`. */
  readonly maxConnections: number;
  /** A connection on which nothing arrives for this long is closed. Milliseconds. */
  readonly idleMs: number;
  /** From the first byte of a request to the last of its reply. Milliseconds. */
  readonly requestMs: number;
  /** Memory for messages that are arriving and requests in progress, over all connections; `busy` beyond it. Bytes. */
  readonly maxInFlight: number;
}

/** The default limits. */
export const DEFAULT_LIMITS: Limits = {
  maxMessage: DEFAULT_MAX_LENGTH,
  maxConnections: 64,
  idleMs: 30_000,
  requestMs: 60_000,
  maxInFlight: 512 * 1024 * 1024,
};
