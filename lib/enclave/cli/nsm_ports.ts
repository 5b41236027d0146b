/**
 * What the production entry opens and checks at its start: the NSM, the source of the kernel's random numbers, the self-test. All of it goes through
 * libc; its permission is revoked afterwards, and open files stay open.
 *
 * @module
 */
import { Kernel } from "../../../ffi/kernel.ts";
import { LIBC_PATHS } from "../../../ffi/libc.ts";
import type { Dlopen } from "../../../ffi/library.ts";
import type { ClockPorts } from "./clock.ts";
import { NSM_DEVICE } from "../../../ffi/nsm.ts";
import { openNsm } from "./nsm.ts";
import { Random } from "../../shared/crypto/random.ts";
import { messageOf } from "../../shared/errors.ts";
import type { ServiceParts } from "../server/start.ts";
import { createSelfTest, memoryOf, type SelfCheck } from "./self_test.ts";

const RNG_CURRENT = "/sys/class/misc/hw_random/rng_current";
const MAX_FILE_LENGTH = 16_384;

/** The parts of a service that this opens. Disposing closes the NSM and the C library. */
export interface NsmPorts
  extends Disposable, Pick<ServiceParts, "entropy" | "attester" | "memory" | "measurements" | "kernel"> {
  /** The NSM and the clock, where there are both. */
  readonly clock?: ClockPorts | undefined;
  /** The checks as they are now. */
  readonly selfTest: () => Promise<readonly SelfCheck[]>;
  /** Why there is no NSM where one is expected. */
  readonly warnings: readonly string[];
}

/** `openWallClock` of `ffi/clock.ts`, or what a test records with. */
type OpenClock = (kernel: Kernel) => ClockPorts["set"];

/**
 * Opens the ports. If the NSM fails, the session key is still served, without attestation documents, and no
 * key is made.
 *
 * @param openClock opens what sets the clock; called only beside an open NSM
 * @throws {EnclaveError} `libc` when the C library cannot be opened.
 */
export async function openNsmPorts(openClock?: OpenClock, dlopen?: Dlopen): Promise<NsmPorts> {
  using opened = new DisposableStack();
  try {
    // Stays open: `health` runs the checks again, and random numbers are read for each key.
    const kernel = opened.use(new Kernel(`look for ${NSM_DEVICE}`, dlopen));
    const found = await lookForNsm(opened, kernel, openClock);
    const life = opened.move();
    return { ...found, [Symbol.dispose]: () => life.dispose() };
  } finally {
    // Open symbols keep working.
    for (const path of LIBC_PATHS) Deno.permissions.revokeSync({ name: "ffi", path });
  }
}

async function lookForNsm(
  opened: DisposableStack,
  kernel: Kernel,
  openClock?: OpenClock,
): Promise<Omit<NsmPorts, keyof Disposable>> {
  const fill = (bytes: Uint8Array<ArrayBuffer>) => kernel.fillRandom(bytes);
  try {
    const readText = (path: string) => {
      const bytes = kernel.readFile(path, MAX_FILE_LENGTH);
      return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
    };
    const kernelGenerator = readText(RNG_CURRENT)?.trim();
    const nsm = kernel.exists(NSM_DEVICE) ? opened.use(openNsm(kernel)) : undefined;
    const exists = (path: string) => kernel.exists(path);
    const clocks = { now: () => new Date(), monotonic: () => performance.now() };
    const selfTest = createSelfTest({ nsm, kernelGenerator, readText, exists, ...clocks });
    const { measurements } = await selfTest();
    return {
      attester: nsm,
      entropy: { kernelGenerator, random: new Random({ kernel: fill, nsm }) },
      memory: memoryOf(readText, "MemTotal"),
      measurements,
      kernel: readText("/proc/sys/kernel/osrelease")?.trim(),
      clock: nsm && openClock && { nsm, set: openClock(kernel), ...clocks },
      selfTest: async () => (await selfTest()).checks,
      warnings: [],
    };
  } catch (thrown) {
    const seen = `no attestation documents and no new keys: ${messageOf(thrown).split("\n", 1)[0] ?? ""}`;
    // The NSM may be there: a key that was made without it would be a weaker one.
    const random = new Random({ kernel: fill, nsm: { random: () => Promise.reject(thrown) } });
    return {
      entropy: { kernelGenerator: undefined, random },
      selfTest: () => Promise.resolve([{ check: "NSM", state: "fail", seen }]),
      warnings: [seen],
    };
  }
}
