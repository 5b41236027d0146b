/**
 * The KMS and STS of AWS behind {@link KeyAdmin}.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../errors.ts";
import type { KeyArn } from "../aws/key_arn.ts";
import type { CredentialSource } from "../aws/credential_source.ts";
import {
  DescribeKeyCommand,
  GetCallerIdentityCommand,
  GetKeyPolicyCommand,
  KMSClient,
  ListGrantsCommand,
  PutKeyPolicyCommand,
  STSClient,
} from "../aws/deps/aws_sdk.ts";
import { type KeyAdmin, type KeyAdminCode, KeyAdminError } from "./key_admin.ts";
import type { GrantFact } from "./policies/lint.ts";

/** Options of {@link openKeyAdmin}. */
export interface KeyAdminOptions {
  readonly key: KeyArn;
  readonly credentials: CredentialSource;
  /** Another endpoint than AWS's, for development. */
  readonly endpoint?: string | undefined;
  /** Milliseconds for one request. */
  readonly requestMs?: number;
}

const CONNECT_MS = 3_000;
const REQUEST_MS = 10_000;
/** In all, the SDK's own retries with it. */
const ATTEMPTS = 3;
const GRANTS_PER_PAGE = 100;
const MAX_GRANT_PAGES = 100;

const MEANINGS: Readonly<Record<string, readonly [KeyAdminCode, string]>> = {
  AccessDeniedException: [
    "kms_denied",
    "The caller needs the right in the key's policy, or in its own where the key's policy leaves it to IAM (denclavectl policy render --inspect lets the parent look).",
  ],
  AccessDenied: ["kms_denied", "The caller's IAM policy, or one above it, refuses this."],
  NotFoundException: [
    "kms_not_found",
    "Check the key's ARN: account, region and id; deleted keys are not found.",
  ],
  ExpiredTokenException: [
    "credentials_expired",
    "Log in again, or let the instance's role give fresh ones.",
  ],
  ExpiredToken: ["credentials_expired", "Log in again, or let the instance's role give fresh ones."],
  UnrecognizedClientException: [
    "credentials_refused",
    "AWS does not know these credentials: check the access key, and the session token that belongs to it.",
  ],
  InvalidClientTokenId: [
    "credentials_refused",
    "AWS does not know these credentials: check the access key, and the session token that belongs to it.",
  ],
  InvalidSignatureException: [
    "credentials_refused",
    "The secret key does not belong to the access key, or this machine's clock is wrong.",
  ],
  SignatureDoesNotMatch: [
    "credentials_refused",
    "The secret key does not belong to the access key, or this machine's clock is wrong.",
  ],
  MalformedPolicyDocumentException: [
    "kms_refused",
    "A principal may not exist (any more), or the policy would lock the caller out.",
  ],
  KMSInvalidStateException: ["kms_refused", "The key is disabled or about to be deleted."],
};

function translate(thrown: unknown, doing: string): EnclaveError {
  if (thrown instanceof EnclaveError) return thrown;
  const name = thrown instanceof Error ? thrown.name : "";
  const [code, hint] = Object.hasOwn(MEANINGS, name)
    ? MEANINGS[name] ?? ["kms_unavailable", ""]
    : ["kms_unavailable" as const, "Check the network, the region and the endpoint, then try again."];
  return new KeyAdminError(`Cannot ${doing}: ${name}: ${messageOf(thrown)}`, { code, hint, cause: thrown });
}

/** Opens the clients for one key. Nothing is sent yet. */
export function openKeyAdmin(options: KeyAdminOptions): KeyAdmin {
  const { key: { arn, region }, credentials, endpoint, requestMs = REQUEST_MS } = options;
  const settings = {
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    credentials: () => credentials.get(),
    maxAttempts: ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: requestMs, throwOnRequestTimeout: true },
  };
  const kms = new KMSClient(settings);
  const sts = new STSClient(settings);

  async function attempt<T>(doing: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (thrown) {
      throw translate(thrown, doing);
    }
  }

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
