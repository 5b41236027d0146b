/**
 * Checks that a sealed request is not late, by the enclave's clock: otherwise whoever carries it could hold it back and deliver it at a harmful time,
 * such as an old `configure` after a newer one.
 *
 * @module
 */
import type { MessageTimes } from "../../shared/sealed/message.ts";

/** Tolerated skew of the client's clock, in either direction. Milliseconds. */
export const CLOCK_TOLERANCE_MS = 5_000;

/**
 * Why a request is refused for its times; undefined when it is in time. It is valid from {@link CLOCK_TOLERANCE_MS} before it was sealed until the same after it
 * expires, and it expires after `maxAgeMs` at the latest, whatever its own expiry.
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
