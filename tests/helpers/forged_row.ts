/**
 * A master key's row that a parent forges with `kms:Encrypt`: it holds a private key that the parent knows,
 * under a data key that the parent made.
 *
 * @module
 */
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { sealPrivateKey } from "../../lib/shared/crypto/bound_key.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { publicKeyOf } from "../../lib/shared/crypto/secp256k1.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import type { LocalKms } from "../../lib/dev/kms/local.ts";
import type { StoredMasterKey } from "../../lib/ctl/gateway/master_key_store.ts";
import { newSecretKey } from "./new_secret_key.ts";

/** Makes it, of epoch 1; for the public key of another private key, where one is given. */
export async function forgedRow(
  kms: LocalKms,
  kmsKeyId: string,
  enclaveId: number,
  othersPublicKey?: Uint8Array<ArrayBuffer>,
): Promise<StoredMasterKey & { readonly dataKey: Uint8Array<ArrayBuffer> }> {
  using privateKey = newSecretKey();
  using dataKey = new SecretBytes(crypto.getRandomValues(new Uint8Array(32)));
  const publicKey = othersPublicKey ?? publicKeyOf(privateKey, "compressed");
  const kmsEncryptedDek = await kms.encrypt(kmsKeyId, dataKey.expose().slice(), {
    app: "denclave",
    purpose: "master",
    enclave_id: String(enclaveId),
  });
  const encryptedPrivateKey = sealPrivateKey(dataKey, privateKey, {
    random: HOST_RANDOM.fill,
    binding: {
      purpose: "master",
      subject: String(enclaveId),
      key: parseKeyArn(kmsKeyId),
      publicPart: publicKey,
      epoch: 1,
    },
  });
  return {
    enclaveId,
    kmsEncryptedDek,
    encryptedPrivateKey,
    publicKey,
    kmsKeyId,
    keyEpoch: 1,
    dataKey: dataKey.expose().slice(),
  };
}
