/**
 * A Kms that tells when it denies something: what was kept from an earlier answer may no longer be kept.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";
import type { Kms } from "./kms.ts";

/** Wraps a backend. `onDenied` is called when KMS itself refused, not when it could not be reached. */
export function observeDenials(kms: Kms, onDenied: () => void): Kms {
  const watch = async <T>(calling: Promise<T>): Promise<T> => {
    try {
      return await calling;
    } catch (thrown) {
      if (thrown instanceof EnclaveError && "kms" in thrown && thrown.kms !== undefined) onDenied();
      throw thrown;
    }
  };
  return {
    attested: kms.attested,
    decrypt: (access, request) => watch(kms.decrypt(access, request)),
    generateDataKey: (access, request) => watch(kms.generateDataKey(access, request)),
    generateRandom: (access, length) => watch(kms.generateRandom(access, length)),
    health: () => kms.health(),
    [Symbol.asyncDispose]: () => kms[Symbol.asyncDispose](),
  };
}
