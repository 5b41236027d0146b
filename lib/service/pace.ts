/**
 * Long work in the service's own thread, in slices: others get their turn in between, and it ends when nobody waits for it any more.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** One slice. Milliseconds. */
const SLICE_MS = 10;

/** The signal of a caller that waits whatever happens. */
export const NEVER: AbortSignal = new AbortController().signal;

/** What takes effect must not do so after its request was answered `timeout`. @throws {EnclaveError} `abandoned` */
export function checkWaitedFor(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new EnclaveError("Nobody waits for this any more", { code: "abandoned" });
}

/** Makes the function to be awaited between steps, each of which is short. @throws {EnclaveError} `abandoned` */
export function createPace(signal: AbortSignal): () => Promise<void> {
  let sliceEnd = performance.now() + SLICE_MS;
  return async () => {
    if (performance.now() < sliceEnd) return;
    // A timer, and not setImmediate: measured with 2.9.6, that one lets no socket be read meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 0));
    checkWaitedFor(signal);
    sliceEnd = performance.now() + SLICE_MS;
  };
}
