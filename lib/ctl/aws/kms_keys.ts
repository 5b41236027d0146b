/**
 * KMS keys made for the enclave: symmetric, for encrypting and decrypting.
 *
 * @module
 */
import { type AwsClientOptions, kmsClient } from "./clients.ts";
import { CreateAliasCommand, CreateKeyCommand, EnableKeyRotationCommand } from "./deps/aws_sdk.ts";
import { awsCall } from "./key_admin.ts";

/** What to make. */
interface CreateKeyOptions extends AwsClientOptions {
  /** Without `alias/`. */
  readonly alias?: string | undefined;
  readonly description?: string | undefined;
  readonly tags?: Readonly<Record<string, string>>;
  /** Have KMS rotate its key material every year. */
  readonly rotation?: boolean;
}

/** What was made. */
interface CreatedKey {
  readonly arn: string;
  readonly alias: string | undefined;
  readonly rotation: boolean;
}

/**
 * Makes a key, then its alias and rotation.
 *
 * @throws {KeyAdminError} When the key was made but its alias or rotation was not, the message has the key's
 * ARN: nothing is lost, and it is not made twice.
 */
export async function createKey(options: CreateKeyOptions): Promise<CreatedKey> {
  const { region, credentials, endpoint, alias, tags = {}, rotation = false } = options;
  const client = kmsClient({ region, credentials, endpoint });
  let arn = "";
  const step = (what: string, run: () => Promise<unknown>) =>
    awsCall(
      () => `${what} in ${region}${arn === "" ? "" : ` (the key was created: ${arn})`}`,
      "createKey",
      run,
      () => arn === "" ? undefined : "Do this step manually for that key instead of creating another one.",
    );
  try {
    await step("create the key", async () => {
      const { KeyMetadata } = await client.send(
        new CreateKeyCommand({
          KeyUsage: "ENCRYPT_DECRYPT",
          KeySpec: "SYMMETRIC_DEFAULT",
          Description: options.description ?? "denclave: releases keys to an attested enclave",
          Tags: Object.entries(tags).map(([TagKey, TagValue]) => ({ TagKey, TagValue })),
        }),
      );
      if (KeyMetadata?.Arn === undefined) throw new Error("KMS answered without the key's ARN");
      arn = KeyMetadata.Arn;
    });
    if (alias !== undefined) {
      await step(
        `give it the alias ${alias}`,
        () => client.send(new CreateAliasCommand({ AliasName: `alias/${alias}`, TargetKeyId: arn })),
      );
    }
    if (rotation) {
      await step("turn on its rotation", () => client.send(new EnableKeyRotationCommand({ KeyId: arn })));
    }
    return { arn, alias, rotation };
  } finally {
    client.destroy();
  }
}
