/** Signing, clients and attestation, denial of service, key policies, the log, permissions. */
import type { Mutant } from "../mutant.ts";

export const SERVICE_MUTANTS: readonly Mutant[] = [
  {
    name: "origin-of-another-key",
    breaks: "documents of another public key of the same enclave count as those of the row's key",
    from: "epochs(enclaveId).filter((epoch) => encodeHex(epoch.publicKey) === wanted)",
    to: "epochs(enclaveId).filter(() => wanted !== undefined)",
    test: "unit/parent/gateway_origin_test.ts",
  },
];
