/**
 * Whether keys may be made and data sealed: an enclave's only source of randomness is the NSM. Either the SDK has seeded the kernel's pool from it, or
 * the kernel's hardware generator is the NSM's.
 *
 * @module
 */
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { messageOf } from "../../shared/errors.ts";
import { WireError } from "../../shared/wire/messages.ts";
import type { Ports } from "./feature.ts";

/** The name of the NSM's generator in the kernel (drivers/misc/nsm.c). */
export const NSM_GENERATOR = "nsm-hwrng";

/** The ports that say where random numbers come from. */
type Sources = Pick<Ports, "kms" | "entropy">;

/** Whether the random numbers are trusted. On a host they always are. */
export function isEntropyTrusted({ kms, entropy }: Sources): boolean {
  if (!kms.attested) return true;
  return kms.entropySeeded === true || entropy.kernelGenerator === NSM_GENERATOR;
}

/**
 * A new key, or the seed of one. Waits for the SDK's seeding, if it may still come.
 *
 * @param purpose what it is for: see {@link Random.secret}
 * @returns the caller's to dispose
 * @throws {WireError} `entropy_not_trusted`, also when the NSM gives no random numbers
 */
export async function drawSecret(ports: Sources, purpose: string, length: number): Promise<SecretBytes> {
  if (!isEntropyTrusted(ports)) await ports.kms.opened?.catch(() => {});
  requireEntropy(ports, "No key is made");
  try {
    return await ports.entropy.random.secret(purpose, length);
  } catch (thrown) {
    throw new WireError("entropy_not_trusted", `No key is made: ${messageOf(thrown)}`);
  }
}

/** @param refusal the refused action, for the message; @throws {WireError} `entropy_not_trusted` */
export function requireEntropy(ports: Sources, refusal: string): void {
  if (isEntropyTrusted(ports)) return;
  const generator = JSON.stringify(ports.entropy.kernelGenerator ?? "none");
  const why =
    `the SDK could not seed the kernel's pool from the NSM, and the kernel's generator is ${generator}`;
  throw new WireError("entropy_not_trusted", `${refusal}: ${why}, not ${NSM_GENERATOR}`);
}
