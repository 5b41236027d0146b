/**
 * The service's limits: every wait has a deadline, every buffer a cap.
 *
 * @module
 */
import { DEFAULT_MAX_LENGTH } from "../wire/framing.ts";
import { BYTE_COST } from "./memory_budget.ts";

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

/** The limits as configured: where the memory for messages is left out, it depends on the machine's. */
export type LimitOptions = Omit<Limits, "maxInFlight"> & { readonly maxInFlight: number | undefined };

const MIB = 1024 * 1024;
/** What the kernel, the image's files, the service and one SDK process need. Bytes. */
const OWN_MEMORY = 190 * MIB;
/** The least that is given to messages, however little memory there is. Bytes. */
const LEAST_IN_FLIGHT = 16 * MIB;

/** What messages and requests can take: half of what is left, since V8 keeps about as much garbage. Bytes. */
function roomFor(memory: number): number {
  return Math.max(0, Math.floor((memory - OWN_MEMORY) / 2));
}

/**
 * The limits on a machine with this much memory.
 *
 * @param memory bytes; undefined where it is not known
 */
export function limitsFor(options: LimitOptions, memory: number | undefined): Limits {
  const room = memory === undefined ? DEFAULT_LIMITS.maxInFlight : Math.max(LEAST_IN_FLIGHT, roomFor(memory));
  return { ...options, maxInFlight: options.maxInFlight ?? Math.min(DEFAULT_LIMITS.maxInFlight, room) };
}

/** Warnings about limits that do not fit the machine's memory. */
export function memoryWarnings(limits: Limits, memory: number | undefined): readonly string[] {
  const { maxInFlight, maxMessage } = limits;
  const inMib = (bytes: number) => `${Math.floor(bytes / MIB)} MiB`;
  const warnings: string[] = [];
  if (memory !== undefined && maxInFlight > roomFor(memory)) {
    warnings.push(
      `messages may take ${inMib(maxInFlight)} (--max-in-flight), more than the ${
        inMib(roomFor(memory))
      } that a memory of ${inMib(memory)} has room for: the kernel may end the service`,
    );
  }
  const largest = Math.floor(maxInFlight / (2 * BYTE_COST));
  if (largest < maxMessage) {
    warnings.push(
      `the memory for messages, ${
        inMib(maxInFlight)
      } (--max-in-flight), is too little for --max-message ${maxMessage}: those of more than ${largest} bytes are refused`,
    );
  }
  return warnings;
}
