/**
 * The EncryptionContext that a trusted session key (TSK) is wrapped under. With it a key policy can limit the issuer's `kms:Encrypt` to session
 * keys, so that only the enclave can wrap rows of the wallet or the master key.
 *
 * @module
 */
import type { EncryptionContext } from "./kms_limits.ts";

/** What the enclave expects unless `--tsk-context` is given. */
export const TSK_CONTEXT = { app: "denclave", purpose: "tsk" } as const satisfies EncryptionContext;

/**
 * Purposes of this program's other data keys: under the context of one of them, the data key of a stored row
 * would open as a session key.
 */
const OTHER_PURPOSES: readonly unknown[] = ["wallet", "master"];

/** Whether a context is that of an account's or the master key's data key. */
export function isOtherKeysContext({ app, purpose }: EncryptionContext): boolean {
  return app === TSK_CONTEXT.app && OTHER_PURPOSES.includes(purpose);
}

/**
 * The context of one wrapped key.
 *
 * @param context the service's own; undefined for keys that were wrapped without one
 * @param epoch of a key for a service that wants a growing epoch
 * @returns undefined where there is neither
 */
export function tskContext(
  context: EncryptionContext | undefined,
  epoch: number | undefined,
): EncryptionContext | undefined {
  return epoch === undefined ? context : { ...context, epoch: String(epoch) };
}
