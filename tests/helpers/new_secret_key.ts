/**
 * A fresh key of secp256k1, as tests need many.
 *
 * @module
 */
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { secretKeyOf, SEED_LENGTH } from "../../lib/shared/crypto/secp256k1.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";

/** Makes one. The caller's to dispose. */
export function newSecretKey(): SecretBytes {
  using seed = new SecretBytes(HOST_RANDOM.bytes(SEED_LENGTH));
  return secretKeyOf(seed);
}

/** Whether secret bytes were wiped. */
export function isWiped(secret: { expose(): unknown }): boolean {
  try {
    secret.expose();
    return false;
  } catch {
    return true;
  }
}
