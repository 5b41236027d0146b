/**
 * Condition keys: which ones a request can have, and what is in those of an enclave's request to use a key.
 *
 * Sources: Service Authorization Reference (KMS), IAM's reference of global condition keys.
 *
 * @module
 */
import { foldCase } from "../aws/key_policy.ts";

/** What a condition looks at. */
export type Subject =
  /** PCR of an enclave; ImageSha384 is PCR0 by another name. */
  | { readonly kind: "pcr"; readonly index: number }
  /** NitroTPM's registers, of an instance and not of an enclave. */
  | { readonly kind: "tpm" }
  /** A key that no request has; by its beginning one about attestation, or not. */
  | { readonly kind: "unknown"; readonly isAttestation: boolean }
  /** A key with the same value in every request of an enclave; undefined where they do not have the key. */
  | { readonly kind: "fixed"; readonly value: string | undefined }
  /** Depends on the account, the network or the request. */
  | { readonly kind: "other" };

const ATTESTATION = "kms:recipientattestation";
/** The highest register of the Nitro security module. */
const MAX_PCR = 31;

/** An enclave calls KMS itself, over TLS. */
const FIXED: Readonly<Record<string, string>> = {
  "aws:SecureTransport": "true",
  "aws:ViaAWSService": "false",
  "aws:PrincipalIsAWSService": "false",
};

/** Names by prefix, separated by white space. */
function keysOf(names: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(names).flatMap(([prefix, list]) =>
    list.trim().split(/\s+/).map((name) => `${prefix}:${name}`)
  );
}

/** Of requests by an AWS service, by a key's alias, or for something else than the use of a key. */
const ABSENT = keysOf({
  kms: `
    BypassPolicyLockoutSafetyCheck ExpirationModel GrantConstraintSourceArn GrantConstraintType
    GrantIsForAWSResource GrantOperations GranteePrincipal GranteeServicePrincipal MacAlgorithm
    MessageType PrimaryRegion ReEncryptOnSameKey ReplicaRegion RequestAlias RetiringPrincipal
    RetiringServicePrincipal RotationPeriodInDays ScheduleKeyDeletionPendingWindowInDays
    SigningAlgorithm TrailingDaysWithoutKeyUsage ValidTo ViaService WrappingAlgorithm
    WrappingKeySpec
  `,
  aws: `
    CalledVia CalledViaFirst CalledViaLast PrincipalServiceName PrincipalServiceNamesList
    SourceAccount SourceArn SourceOrgID SourceOrgPaths
  `,
});

const OTHER = keysOf({
  kms: `
    CallerAccount CustomerMasterKeySpec CustomerMasterKeyUsage DataKeyPairSpec
    EncryptionAlgorithm EncryptionContextKeys KeyAgreementAlgorithm KeyOrigin KeySpec KeyUsage
    MultiRegion MultiRegionKeyType ResourceAliases
  `,
  aws: `
    AssumedRoot CalledViaAWSMCP ChatbotSourceArn CurrentTime Ec2InstanceSourcePrivateIPv4
    Ec2InstanceSourceVpc EpochTime FederatedProvider IsMcpServiceAction MultiFactorAuthAge
    MultiFactorAuthPresent PrincipalAccount PrincipalArn PrincipalOrgID PrincipalOrgPaths
    PrincipalType RequestedRegion ResourceAccount ResourceOrgID ResourceOrgPaths
    SignInSessionArn SourceIdentity SourceIp SourceVpc SourceVpcArn SourceVpce TagKeys
    TokenIssueTime UserAgent ViaAWSMCPService VpcSourceIp VpceAccount VpceOrgID VpceOrgPaths
    referer userid username
  `,
  codebuild: "BuildArn ProjectArn",
  ec2: "RoleDelivery SourceInstanceArn",
  glue: "CredentialIssuingService RoleAssumedBy",
  identitystore: "UserId",
  lambda: "SourceFunctionArn",
  ssm: "SourceInstanceArn",
});

/** Keys with a name of somebody's choice: of an EncryptionContext, of tags. */
const NAMED = /^(?:kms:encryptioncontext:|aws:(?:principal|request|resource)tag\/|saml:)./s;
/** Keys of identity providers, which begin with a host name. */
const OF_PROVIDERS = /^[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:\/[^:]*)?:(?:amr|app_id|aud|email|id|oaud|sub|user_id)$/;

const SUBJECTS: ReadonlyMap<string, Subject> = new Map<string, Subject>([
  ...Object.entries(FIXED).map(([key, value]) => [foldCase(key), { kind: "fixed", value }] as const),
  ...ABSENT.map((key) => [foldCase(key), { kind: "fixed", value: undefined }] as const),
  ...OTHER.map((key) => [foldCase(key), { kind: "other" }] as const),
]);

/** What a condition key stands for. Names of condition keys ignore the case of ASCII letters. */
export function subjectOf(key: string): Subject {
  const name = foldCase(key);
  const known = SUBJECTS.get(name);
  if (known !== undefined) return known;
  if (NAMED.test(name) || OF_PROVIDERS.test(name)) return { kind: "other" };
  const isAttestation = name.startsWith(ATTESTATION);
  const register = isAttestation ? name.slice(ATTESTATION.length) : "";
  if (register === ":imagesha384") return { kind: "pcr", index: 0 };
  if (/^:nitrotpmpcr[0-9]+$/.test(register)) return { kind: "tpm" };
  const [, digits] = /^:pcr(0|[1-9][0-9]?)$/.exec(register) ?? [];
  const index = Number(digits);
  if (digits !== undefined && index <= MAX_PCR) return { kind: "pcr", index };
  return { kind: "unknown", isAttestation };
}
