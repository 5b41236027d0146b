/**
 * What the production entry learns of the machine at its start: the NSM, opened; whose random numbers the kernel has; the self-test. All through
 * libc, whose permission is given up after: what was opened stays open.
 *
 * @module
 */
import { LIBC_PATHS, openSmallFiles } from "../../ffi/libc.ts";
import { NSM_DEVICE } from "../../ffi/nsm.ts";
import { type Nsm, openNsm } from "../attestation/nsm.ts";
import { messageOf } from "../errors.ts";
import type { EntropySource } from "../service/ports.ts";
import type { Measurements } from "../kms/observed.ts";
import { createSelfTest, type SelfCheck } from "./self_test.ts";

const RNG_CURRENT = "/sys/class/misc/hw_random/rng_current";
const MAX_FILE_LENGTH = 16_384;

/** The ports. Disposing closes the NSM and the C library. */
export interface NsmPorts extends Disposable {
  /** Undefined on a host. */
  readonly nsm: Nsm | undefined;
  readonly entropy: EntropySource;
  /** At the start. */
  readonly measurements: Measurements | undefined;
  /** The checks as they are now. */
  readonly selfTest: () => Promise<readonly SelfCheck[]>;
  /** What a person should know: why there is none where there should be one. */
  readonly warnings: readonly string[];
}

/** Opens them. Never throws: a service without attestation documents still serves keys. */
export async function openNsmPorts(): Promise<NsmPorts> {
  using opened = new DisposableStack();
  try {
    // Stays open, since `health` reads again what it shows.
    const files = opened.use(openSmallFiles(`look for ${NSM_DEVICE}`));
    const readText = (path: string) => {
      const bytes = files.read(path, MAX_FILE_LENGTH);
      return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
    };
    const kernelGenerator = readText(RNG_CURRENT)?.trim();
    const nsm = files.exists(NSM_DEVICE) ? opened.use(openNsm()) : undefined;
    const selfTest = createSelfTest({
      nsm,
      kernelGenerator,
      readText,
      exists: files.exists,
      now: () => new Date(),
    });
    const { measurements } = await selfTest();
    const life = opened.move();
    return {
      nsm,
      entropy: { kernelGenerator },
      measurements,
      selfTest: async () => (await selfTest()).checks,
      warnings: [],
      [Symbol.dispose]: () => life.dispose(),
    };
  } catch (thrown) {
    const seen = `no attestation documents, and nothing known of the kernel's random numbers: ${
      messageOf(thrown).split("\n", 1)[0] ?? ""
    }`;
    return {
      nsm: undefined,
      entropy: { kernelGenerator: undefined },
      measurements: undefined,
      selfTest: () => Promise.resolve([{ check: "NSM", state: "fail", seen }]),
      warnings: [seen],
      [Symbol.dispose]: () => {},
    };
  } finally {
    // Symbols that are open stay so.
    for (const path of LIBC_PATHS) Deno.permissions.revokeSync({ name: "ffi", path });
  }
}
