/**
 * Keeps development backends from starting in an enclave. Needs `--allow-ffi` for libc.
 *
 * @module
 */
import { Kernel } from "../../ffi/kernel.ts";
import { EnclaveError } from "../shared/errors.ts";

const NSM_DEVICE = "/dev/nsm";

/** The backend that is checked. */
interface DevelopmentBackend {
  /** For the message, such as `local KMS`. */
  readonly name: string;
  /** Code of the error. */
  readonly code: string;
  /** Why it must not run in an enclave, one sentence. */
  readonly why: string;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string | undefined;
}

/** @throws {EnclaveError} with the backend's code, where there is an NSM. */
export function refuseInEnclave({ name, code, why, nsmDevice = NSM_DEVICE }: DevelopmentBackend): void {
  // Nitro enclaves run Linux: other systems need no check.
  if (Deno.build.os !== "linux") return;
  using kernel = new Kernel(`look for ${nsmDevice}`);
  if (!kernel.exists(nsmDevice)) return;
  throw new EnclaveError(`The ${name} does not run in an enclave (${nsmDevice} is there)`, {
    code,
    hint: `${why} In an enclave run the production binary.`,
  });
}
