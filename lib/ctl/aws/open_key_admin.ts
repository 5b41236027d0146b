/**
 * The KMS and STS of AWS behind {@link KeyAdmin}.
 *
 * @module
 */
import { type AwsClientOptions, kmsClient, stsClient } from "./clients.ts";
import type { KeyArn } from "../../shared/aws/key_arn.ts";
import {
  DescribeKeyCommand,
  GetCallerIdentityCommand,
  GetKeyPolicyCommand,
  ListGrantsCommand,
  PutKeyPolicyCommand,
} from "./deps/aws_sdk.ts";
import { awsCall, type GrantFact, type KeyAdmin } from "./key_admin.ts";

/** Options of {@link openKeyAdmin}. */
interface KeyAdminOptions extends Omit<AwsClientOptions, "region"> {
  /** Its ARN names the region. */
  readonly key: KeyArn;
}

const GRANTS_PER_PAGE = 100;
const MAX_GRANT_PAGES = 100;

/** Opens the clients for one key. Nothing is sent yet. */
export function openKeyAdmin(options: KeyAdminOptions): KeyAdmin {
  const { key: { arn, region }, ...client } = options;
  const kms = kmsClient({ ...client, region });
  const sts = stsClient({ ...client, region });

  const attempt = <T>(doing: string, run: () => Promise<T>) => awsCall(() => doing, "key", run);

  return {
    describe: () =>
      attempt(`describe ${arn}`, async () => {
        const { KeyMetadata } = await kms.send(new DescribeKeyCommand({ KeyId: arn }));
        if (KeyMetadata === undefined) throw new Error("KMS answered without the key");
        return {
          arn: KeyMetadata.Arn ?? arn,
          state: KeyMetadata.KeyState ?? "unknown",
          usage: KeyMetadata.KeyUsage ?? "unknown",
          spec: KeyMetadata.KeySpec ?? "unknown",
          origin: KeyMetadata.Origin ?? "unknown",
          multiRegion: KeyMetadata.MultiRegion ?? false,
        };
      }),
    getPolicy: () =>
      attempt(`read the policy of ${arn}`, async () => {
        const { Policy } = await kms.send(new GetKeyPolicyCommand({ KeyId: arn, PolicyName: "default" }));
        if (Policy === undefined) throw new Error("KMS answered without a policy");
        return Policy;
      }),
    putPolicy: (policy) =>
      attempt(`change the policy of ${arn}`, async () => {
        await kms.send(new PutKeyPolicyCommand({ KeyId: arn, PolicyName: "default", Policy: policy }));
      }),
    listGrants: () =>
      attempt(`list the grants of ${arn}`, async () => {
        const grants: GrantFact[] = [];
        let marker: string | undefined;
        for (let page = 0; page < MAX_GRANT_PAGES; page++) {
          const answer = await kms.send(
            new ListGrantsCommand({
              KeyId: arn,
              Limit: GRANTS_PER_PAGE,
              ...(marker === undefined ? {} : { Marker: marker }),
            }),
          );
          grants.push(
            ...(answer.Grants ?? []).map(({ GrantId, GranteePrincipal, Operations }) => ({
              id: GrantId ?? "unknown",
              grantee: GranteePrincipal ?? "unknown",
              operations: Operations ?? [],
            })),
          );
          if (answer.Truncated !== true || answer.NextMarker === undefined) return grants;
          marker = answer.NextMarker;
        }
        throw new Error(`there are more than ${GRANTS_PER_PAGE * MAX_GRANT_PAGES}`);
      }),
    callerArn: () =>
      attempt("ask STS who the caller is", async () => {
        const { Arn } = await sts.send(new GetCallerIdentityCommand({}));
        if (Arn === undefined) throw new Error("STS answered without an ARN");
        return Arn;
      }),
    [Symbol.dispose]: () => {
      kms.destroy();
      sts.destroy();
    },
  };
}
