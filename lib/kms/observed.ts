/**
 * A Kms that tells when it denies something: what was kept from an earlier answer may no longer be kept.
 *
 * @module
 */
import { type Kms, kmsErrorName } from "./kms.ts";

/** KMS answered, and it was not about who asks or for what. */
const NO_DENIAL = /Throttl|LimitExceeded|Internal|Timeout|Unavailable/;

function isDenial(thrown: unknown): boolean {
  const name = kmsErrorName(thrown);
  return name !== undefined && !NO_DENIAL.test(name);
}

/** Wraps a backend. `onDenied` is called when KMS itself refused, not when it could not be reached or was too busy. */
export function observeDenials(kms: Kms, onDenied: () => void): Kms {
  const watch = async <T>(calling: Promise<T>): Promise<T> => {
    try {
      return await calling;
    } catch (thrown) {
      if (isDenial(thrown)) onDenied();
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
