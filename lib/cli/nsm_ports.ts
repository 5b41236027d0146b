/**
 * What the production entry learns of the machine at its start: the NSM, opened; whose random numbers the kernel has; the self-test. All through
 * libc, which is not needed after: its permission is given up.
 *
 * @module
 */
import { LIBC_PATHS, pathExists, readSmallFile } from "../../ffi/libc.ts";
import { NSM_DEVICE } from "../../ffi/nsm.ts";
import { type Nsm, openNsm } from "../attestation/nsm.ts";
import { messageOf } from "../errors.ts";
import type { EntropySource } from "../service/ports.ts";
import { runSelfTest, type SelfTest } from "./self_test.ts";

const RNG_CURRENT = "/sys/class/misc/hw_random/rng_current";
const MAX_FILE_LENGTH = 16_384;

/** The ports. */
export interface NsmPorts {
  /** Undefined on a host. */
  readonly nsm: Nsm | undefined;
  readonly entropy: EntropySource;
  readonly selfTest: SelfTest;
  /** What a person should know: why there is none where there should be one. */
  readonly warnings: readonly string[];
}

function readText(path: string): string | undefined {
  const bytes = readSmallFile(path, MAX_FILE_LENGTH);
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

/** Opens them. Never throws: a service without attestation documents still serves keys. */
export async function openNsmPorts(): Promise<NsmPorts> {
  let nsm: Nsm | undefined;
  try {
    const kernelGenerator = readText(RNG_CURRENT)?.trim();
    nsm = pathExists(NSM_DEVICE) ? openNsm() : undefined;
    const selfTest = await runSelfTest({
      nsm,
      kernelGenerator,
      readText,
      exists: pathExists,
      now: () => new Date(),
    });
    return { nsm, entropy: { kernelGenerator }, selfTest, warnings: [] };
  } catch (thrown) {
    nsm?.[Symbol.dispose]();
    const seen = `no attestation documents, and nothing known of the kernel's random numbers: ${
      messageOf(thrown).split("\n", 1)[0] ?? ""
    }`;
    return {
      nsm: undefined,
      entropy: { kernelGenerator: undefined },
      selfTest: { measurements: undefined, checks: [{ check: "NSM", state: "fail", seen }] },
      warnings: [seen],
    };
  } finally {
    // Symbols that are open stay so.
    for (const path of LIBC_PATHS) Deno.permissions.revokeSync({ name: "ffi", path });
  }
}
