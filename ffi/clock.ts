/**
 * Sets the machine's wall clock, by the C library. Only `main.ts` may import this (`scripts/lint_plugin.ts`),
 * and it is opened only beside the NSM's device: an enclave's clock is set, a host's clock never.
 *
 * @module
 */
import { errnoName, type Kernel } from "./kernel.ts";
import { stableBytes } from "./layout.ts";
import { openLibc } from "./libc.ts";

/** time.h */
const CLOCK_SYMBOLS = {
  // clockid_t, const struct timespec *: borrowed -> 0, or -1 with errno
  clock_settime: { parameters: ["i32", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;
const CLOCK_REALTIME = 0;

/**
 * Opens the C library's function.
 *
 * @param kernel borrowed
 * @returns sets the clock to a time in milliseconds since 1970, a whole number; gives the errno's name where the
 * kernel refuses
 */
export function openWallClock(kernel: Kernel): (time: number) => string | undefined {
  const { symbols } = openLibc(CLOCK_SYMBOLS, "set the clock", kernel.dlopen);
  return (time) => {
    // struct timespec { time_t tv_sec; long tv_nsec }, 64 bits each
    const timespec = stableBytes(16);
    const parts = [Math.floor(time / 1_000), time % 1_000 * 1_000_000];
    new BigInt64Array(timespec.buffer).set(parts.map(BigInt));
    return symbols.clock_settime(CLOCK_REALTIME, timespec) === 0 ? undefined : errnoName(kernel.errno());
  };
}
