/**
 * What a development backend looks at before it starts: whether this is an enclave, where it must not run. Needs `--allow-ffi` for libc.
 *
 * @module
 */
import { pathExists } from "../../ffi/libc.ts";
import { EnclaveError } from "../errors.ts";

const NSM_DEVICE = "/dev/nsm";

/** Who asks. */
export interface DevelopmentBackend {
  /** For the message, such as `local KMS`. */
  readonly name: string;
  /** Of the error. */
  readonly code: string;
  /** What would be wrong with it in an enclave, one sentence. */
  readonly why: string;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string | undefined;
}

/** @throws {EnclaveError} with the backend's code, where there is an NSM. */
export function refuseInEnclave({ name, code, why, nsmDevice = NSM_DEVICE }: DevelopmentBackend): void {
  // Nitro enclaves are Linux: elsewhere there is nothing to look for.
  if (Deno.build.os !== "linux" || !pathExists(nsmDevice)) return;
  throw new EnclaveError(`The ${name} does not run in an enclave (${nsmDevice} is there)`, {
    code,
    hint: `${why} In an enclave run the production binary.`,
  });
}
