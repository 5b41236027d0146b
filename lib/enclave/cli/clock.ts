/**
 * Keeps the wall clock at the NSM's time: nobody else sets an enclave's clock, and the parent is not asked. KMS's
 * signatures, sealed requests and certificates depend on it. Deadlines use the monotonic clock.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { type Clocks, readOwnDocument } from "./self_test.ts";

const EVERY_MS = 600_000;
/** Smaller differences are left. Milliseconds. */
const TOLERANCE_MS = 500;

/** A module, and the clock of the machine that it is in. */
export interface ClockPorts extends Clocks {
  /** Sets the clock to a time in milliseconds since 1970. @returns why it could not */
  readonly set: (time: number) => string | undefined;
}

/**
 * Compares the clock with the module's, now and every ten minutes.
 *
 * @param isSet whether a clock that is off by more than {@link TOLERANCE_MS} is set
 * @returns with the milliseconds by which the clock was ahead of the module's when they were last compared;
 * disposing ends the comparisons
 */
export async function keepClock(ports: ClockPorts, isSet: boolean, log: Log) {
  let ahead: number | undefined;
  const compare = async () => {
    const { ahead: found } = await readOwnDocument(ports);
    if (found === undefined) return;
    ahead = found;
    if (!isSet || Math.abs(found) <= TOLERANCE_MS) return;
    const reason = ports.set(ports.now().getTime() - found);
    if (reason !== undefined) return log("warn", "clock_not_set", { ahead_ms: found, reason });
    log("info", "clock_set", { was_ahead_ms: found });
    ahead = (await readOwnDocument(ports)).ahead ?? 0;
  };
  const keep = () =>
    compare().catch((thrown) => log("warn", "clock_not_compared", { reason: messageOf(thrown) }));
  await keep();
  const timer = setInterval(keep, EVERY_MS);
  return { ahead: () => ahead, [Symbol.dispose]: () => clearInterval(timer) };
}
