/**
 * Whether a sealed request comes in time, by the enclave's clock: whoever carries it could otherwise keep it back and deliver it when it does harm, such
 * as an old `configure` after a newer one.
 *
 * @module
 */
import type { MessageTimes } from "../sealed/message.ts";

/** A sealed request is taken for so long after it was sealed. Milliseconds. */
export const DEFAULT_MAX_SEALED_AGE_MS = 60_000;
/** The client's clock may be off by so much, in either direction. Milliseconds. */
export const CLOCK_TOLERANCE_MS = 5_000;

/**
 * Why a request is not taken; undefined when it comes in time. It is good from {@link CLOCK_TOLERANCE_MS} before it was sealed until the same after it
 * expires, and it expires after `maxAgeMs` at the latest, whatever it says.
 *
 * @param now milliseconds since 1970, by the enclave's clock
 */
export function timeProblem(
  { sessionStarted, sealedAt, expiresAt }: MessageTimes,
  { now, maxAgeMs }: { readonly now: number; readonly maxAgeMs: number },
): string | undefined {
  if (sessionStarted > sealedAt || sealedAt > expiresAt) {
    return "The request's times are not in order: session, sealing, expiry";
  }
  const ahead = sealedAt - now;
  if (ahead > CLOCK_TOLERANCE_MS) {
    return `The client's clock is ${ahead} ms ahead of the enclave's, and may be ${CLOCK_TOLERANCE_MS} ms off: set it`;
  }
  const late = now - Math.min(expiresAt, sealedAt + maxAgeMs);
  if (late > CLOCK_TOLERANCE_MS) {
    return `The request expired ${late} ms ago by the enclave's clock (${CLOCK_TOLERANCE_MS} ms are tolerated): it was kept back on the way, or the client's clock is behind`;
  }
  return undefined;
}
