/**
 * Whether the client still waits, and long work on the service's thread that lets other requests run in between.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";

/** How long work may hold the thread. Milliseconds. */
const SLICE_MS = 10;

/** A signal that is never aborted. */
export const NEVER: AbortSignal = new AbortController().signal;

/** Keeps an action from taking effect after its request was answered `timeout`. @throws {EnclaveError} `abandoned` */
export function checkWaitedFor(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new EnclaveError("The client no longer waits for the reply", { code: "abandoned" });
}

/** Makes a function to await between short steps: it yields the thread once a slice is over. @throws {EnclaveError} `abandoned` */
export function createYield(signal: AbortSignal): () => Promise<void> {
  let sliceEnd = performance.now() + SLICE_MS;
  return async () => {
    if (performance.now() < sliceEnd) return;
    // A timer, not setImmediate, which does not let sockets be read meanwhile (measured with 2.9.6).
    await new Promise((resolve) => setTimeout(resolve, 0));
    checkWaitedFor(signal);
    sliceEnd = performance.now() + SLICE_MS;
  };
}
