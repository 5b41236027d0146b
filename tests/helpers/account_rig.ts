/**
 * A wallet service on a loopback socket in this process, and the parent's client of it.
 *
 * @module
 */
import type { Attester } from "../../lib/enclave/server/feature.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { CredentialSource, type ParentCredentials } from "../../lib/ctl/aws/credential_source.ts";
import { WalletClient } from "../../lib/ctl/client/wallet_client.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { startTestService } from "./test_service.ts";
import { countCalls } from "./wallet_rig.ts";

/** Starts both. */
export async function accountRig(
  options: {
    readonly provide?: () => Promise<ParentCredentials>;
    readonly attester?: Attester;
    readonly configurationHash?: Uint8Array<ArrayBuffer>;
    /** Of the KMS keys, which are all allowed; 1 by default. */
    readonly keys?: number;
  } = {},
) {
  const local = await LocalKms.open({ region: "us-east-1" });
  while (local.keyArns.length < (options.keys ?? 1)) await local.createKey();
  const kms = countCalls(local);
  const service = startTestService({
    kms,
    keys: local.keyArns.map(parseKeyArn),
    attester: options.attester,
    ...(options.configurationHash === undefined ? {} : { configurationHash: options.configurationHash }),
  });
  const client = await Client.connect(service.address, { timeoutMs: 20_000 });
  const credentials = new CredentialSource(
    options.provide ?? (() => Promise.resolve({ accessKeyId: "test", secretAccessKey: "test" })),
  );
  return {
    kms,
    keyArns: local.keyArns,
    client,
    credentials,
    wallet: new WalletClient(client, credentials),
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      await service.stop(1_000);
    },
  };
}
