/**
 * How much memory requests may hold at a time, over all connections. Every buffer has a cap of its own; this bounds their sum, so that 64
 * connections with the largest message do not exhaust an enclave's memory.
 *
 * Half of it is for arriving bytes, half for requests in progress: incomplete messages cannot block complete ones.
 *
 * @module
 */
import { type JsonShape, measureJson } from "../../shared/wire/json_shape.ts";
import { BYTE_COST } from "../../shared/cli/limits.ts";
import { decodeText, parseText, WireError, type WireObject } from "../../shared/wire/messages.ts";

/**
 * Memory that the parser takes for each token ({@link JsonShape}). At most half of what is counted stays in
 * use, for every kind of document (`tests/unit/enclave/server/memory_cost_test.ts`); the rest is for the parser's
 * own needs, and for garbage of earlier requests.
 */
export const TOKEN_COST = 72;

/** A number of bytes that reservations share. Only they change `used`. */
export interface MemoryBudget {
  readonly limit: number;
  used: number;
}

/** The budgets of a service: for arriving bytes, and for requests in progress. */
export type ServiceMemory = Readonly<Record<"buffers" | "requests", MemoryBudget>>;

/** @param maxInFlight bytes, for both together */
export function createMemory(maxInFlight: number): ServiceMemory {
  const limit = Math.floor(maxInFlight / 2);
  return { buffers: { limit, used: 0 }, requests: { limit, used: 0 } };
}

/** A reserved part of a budget. Disposing releases it; disposing again has no effect. */
export class Reservation implements Disposable {
  readonly budget: MemoryBudget;
  /** Bytes held. */
  bytes = 0;

  /** Starts with no bytes. */
  constructor(budget: MemoryBudget) {
    this.budget = budget;
  }

  /**
   * Changes the number of reserved bytes.
   *
   * @param bytes whole, from 0
   * @returns false when the budget does not allow it; then nothing changed. Holding less is always allowed.
   */
  resize(bytes: number): boolean {
    const used = this.budget.used - this.bytes + bytes;
    if (bytes > this.bytes && used > this.budget.limit) return false;
    this.budget.used = used;
    this.bytes = bytes;
    return true;
  }

  [Symbol.dispose](): void {
    this.resize(0);
  }
}

/** Memory that a request needs, computed before it is parsed. Bytes. */
export function requestCost(length: number, { tokens }: JsonShape): number {
  return BYTE_COST * length + TOKEN_COST * tokens;
}

/**
 * Parses a message within a budget: reserves memory for its bytes before it decodes them, and for its values
 * before it parses them.
 *
 * @param reservation what the request takes; the caller's to dispose of, also after an error; a refused
 * request holds nothing
 * @param counted bytes that are not reserved yet
 * @throws {WireError} `invalid_json`; `busy`, or `message_too_large` where it costs more than all requests
 * together may
 */
export function parseReserved(body: Uint8Array, reservation: Reservation, counted: number): WireObject {
  reserve(reservation, BYTE_COST * counted);
  const text = decodeText(body);
  const shape = measureJson(text);
  reserve(reservation, requestCost(counted, shape));
  return parseText(text, shape);
}

function reserve(reservation: Reservation, cost: number): void {
  if (reservation.resize(cost)) return;
  reservation[Symbol.dispose]();
  const { limit } = reservation.budget;
  throw cost <= limit
    ? new WireError("busy", "Requests in progress use all available memory: try again later")
    : new WireError(
      "message_too_large",
      `The message would take ${cost} bytes of memory; all requests together may take ${limit}`,
    );
}
