/**
 * A Kms that reports denials, and adds this image's PCRs to them: cached keys must be dropped after a denial, and most denials come from a key
 * policy that does not list this image's PCRs.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import { type Kms, kmsErrorName } from "./kms.ts";

/** The NSM's measurements of this image: PCRs 0 to 2, hex. */
export interface Measurements {
  readonly pcrs: readonly [string, string, string];
  /** Whether the enclave is in debug mode: then the PCRs are zeros. */
  readonly debug: boolean;
}

/** KMS's errors that are not about the caller's rights or the request. */
const NO_DENIAL = /Throttl|LimitExceeded|Internal|Timeout|Unavailable/;

/**
 * A denial of access to an attested enclave, with the PCRs that the policy must allow. `comparison` is sent to
 * the client: measurements are not secret.
 */
function attestedDenial(
  denial: EnclaveError,
  { pcrs: [pcr0, pcr1, pcr2], debug }: Measurements,
): EnclaveError {
  const comparison = debug
    ? "this enclave is in debug mode, its PCRs are zeros: no policy should allow them; run it without --debug-mode"
    : `this enclave has PCR0 ${pcr0}, PCR1 ${pcr1}, PCR2 ${pcr2}: the key policy must allow these, and the role must be allowed to call KMS`;
  const { code, hint, message } = denial;
  const error = new EnclaveError(`${message} (${comparison})`, { code, hint, cause: denial });
  return Object.assign(error, { kms: field(denial, "kms"), comparison });
}

/**
 * Wraps a backend.
 *
 * @param onDenied called when KMS itself refused, not when it was unreachable or too busy
 * @param measurements of this image, where there is an NSM
 */
export function observeDenials(kms: Kms, onDenied: () => void, measurements?: Measurements): Kms {
  const watch = async <T>(calling: Promise<T>): Promise<T> => {
    try {
      return await calling;
    } catch (thrown) {
      const name = kmsErrorName(thrown);
      if (name !== undefined && !NO_DENIAL.test(name)) onDenied();
      if (name === "AccessDeniedException" && measurements !== undefined && thrown instanceof EnclaveError) {
        throw attestedDenial(thrown, measurements);
      }
      throw thrown;
    }
  };
  return {
    attested: kms.attested,
    opened: kms.opened,
    callsAtOnce: kms.callsAtOnce ?? 1,
    get entropySeeded() {
      return kms.entropySeeded;
    },
    decrypt: (access, request) => watch(kms.decrypt(access, request)),
    generateDataKey: (access, request) => watch(kms.generateDataKey(access, request)),
    health: () => kms.health(),
    [Symbol.asyncDispose]: () => kms[Symbol.asyncDispose](),
  };
}
