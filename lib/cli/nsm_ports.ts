/**
 * What the production entry learns of the NSM at its start: the device, opened, and whose random numbers the kernel has. Both through libc, which
 * is not needed after: its permission is given up.
 *
 * @module
 */
import { LIBC_PATHS, pathExists, readSmallFile } from "../../ffi/libc.ts";
import { NSM_DEVICE } from "../../ffi/nsm.ts";
import { type Nsm, openNsm } from "../attestation/nsm.ts";
import { messageOf } from "../errors.ts";
import type { EntropySource } from "../service/ports.ts";

const RNG_CURRENT = "/sys/class/misc/hw_random/rng_current";
const MAX_NAME_LENGTH = 256;

/** The ports. */
export interface NsmPorts {
  /** Undefined on a host. */
  readonly nsm: Nsm | undefined;
  readonly entropy: EntropySource;
  /** What a person should know: why there is none where there should be one. */
  readonly warnings: readonly string[];
}

/** Opens them. Never throws: a service without attestation documents still serves keys. */
export function openNsmPorts(): NsmPorts {
  try {
    const name = readSmallFile(RNG_CURRENT, MAX_NAME_LENGTH);
    const kernelGenerator = name === undefined ? undefined : new TextDecoder().decode(name).trim();
    const nsm = pathExists(NSM_DEVICE) ? openNsm() : undefined;
    return { nsm, entropy: { kernelGenerator }, warnings: [] };
  } catch (thrown) {
    const reason = messageOf(thrown).split("\n", 1)[0] ?? "";
    return {
      nsm: undefined,
      entropy: { kernelGenerator: undefined },
      warnings: [`no attestation documents, and nothing known of the kernel's random numbers: ${reason}`],
    };
  } finally {
    // Symbols that are open stay so.
    for (const path of LIBC_PATHS) Deno.permissions.revokeSync({ name: "ffi", path });
  }
}
