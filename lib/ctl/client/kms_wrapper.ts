/**
 * KMS Encrypt of AWS as a {@link KeyWrapper}.
 *
 * @module
 */
import type { CredentialSource } from "../aws/credential_source.ts";
import { kmsClient } from "../aws/clients.ts";
import { EncryptCommand } from "../aws/deps/aws_sdk.ts";
import type { KeyArn } from "../../shared/aws/key_arn.ts";
import { awsCall } from "../aws/key_admin.ts";
import type { KeyWrapper } from "./session_keys.ts";

/** Options of {@link openKmsWrapper}. */
interface KmsWrapperOptions {
  readonly key: KeyArn;
  readonly credentials: CredentialSource;
  /** Another endpoint than AWS's, for development. */
  readonly endpoint?: string | undefined;
}

const REQUEST_MS = 15_000;

/** Opens a client for one KMS key, in the key's region. Nothing is sent yet. */
export function openKmsWrapper({ key, credentials, endpoint }: KmsWrapperOptions): KeyWrapper {
  const client = kmsClient({ region: key.region, credentials, endpoint, requestMs: REQUEST_MS });
  return {
    keyArn: key.arn,
    encrypt: (plaintext, context) =>
      awsCall(() => `wrap the session key with ${key.arn}`, "wrap", async () => {
        const { CiphertextBlob } = await client.send(
          new EncryptCommand({ KeyId: key.arn, Plaintext: plaintext, EncryptionContext: context }),
        );
        if (CiphertextBlob === undefined) throw new Error("KMS answered without a CiphertextBlob");
        return CiphertextBlob;
      }),
    [Symbol.asyncDispose]: () => Promise.resolve(client.destroy()),
  };
}
