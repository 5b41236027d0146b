/**
 * AWS's error names (KMS, STS and DynamoDB API references, Common errors): what each means, and what whoever calls the enclave can do about it.
 *
 * @module
 */

/** What an AWS error means, for any service. */
export type AwsMeaning =
  /** The caller may not do this. */
  | "denied"
  /** The credentials have expired. */
  | "expired"
  /** AWS does not accept the credentials or the signature. */
  | "credentials"
  /** The named resource does not exist. */
  | "missing"
  /** The request is invalid, or the state of the resource does not allow it. */
  | "refused"
  /** The service did not answer, or is temporarily unavailable. */
  | "unavailable";

/** What to do about an error. */
export interface AwsAdvice {
  readonly meaning: AwsMeaning;
  readonly hint: string;
}

const hints = (meaning: AwsMeaning, byName: Readonly<Record<string, string>>) =>
  Object.entries(byName).map(([name, hint]): [string, AwsAdvice] => [name, { meaning, hint }]);

const ADVICE: ReadonlyMap<string, AwsAdvice> = new Map([
  ...hints("denied", {
    AccessDeniedException:
      "The key policy or the role does not allow this call. Compare the PCRs in the policy's " +
      "kms:RecipientAttestation conditions with those of the running image; an enclave in debug mode has PCRs of zeros.",
  }),
  ...hints("expired", {
    ExpiredTokenException: "The credentials have expired: send fresh ones from the parent's IAM role.",
  }),
  ...hints("credentials", {
    UnrecognizedClientException:
      "The access key id or session token is not known to AWS: send the parent's current credentials.",
    InvalidSignatureException:
      "The secret access key does not belong to the access key id, or the enclave's clock is off by more than five minutes.",
  }),
  ...hints("missing", {
    NotFoundException: "There is no such key in this region: check the ARN and its region.",
  }),
  ...hints("refused", {
    InvalidCiphertextException:
      "The ciphertext was not made by this key, was changed, or was made under another EncryptionContext.",
    IncorrectKeyException: "The ciphertext was made by another KMS key than the one named.",
    DisabledException: "The KMS key is disabled: enable it.",
    KMSInvalidStateException:
      "The KMS key is disabled, or pending deletion or import: enable it, cancel the deletion or finish the import.",
    MalformedPolicyDocumentException:
      "A principal may not exist (any more), or the policy would lock the caller out.",
    ValidationException:
      "KMS refused the request's form: check that the key is symmetric and the ARN complete.",
  }),
  ...hints("unavailable", {
    KeyUnavailableException: "KMS could not use the key just now: try again.",
    ThrottlingException: "Too many requests to KMS: try again later.",
  }),
]);

/** Names of the same error in other services, and in STS, whose names have no "Exception" suffix. */
const SAME: ReadonlyMap<string, string> = new Map([
  ["AccessDenied", "AccessDeniedException"],
  ["ExpiredToken", "ExpiredTokenException"],
  ["InvalidClientTokenId", "UnrecognizedClientException"],
  ["SignatureDoesNotMatch", "InvalidSignatureException"],
  ["ResourceNotFoundException", "NotFoundException"],
  ["ProvisionedThroughputExceededException", "ThrottlingException"],
]);

/** What to do about an AWS error such as `AccessDeniedException`; undefined for other names. */
export function awsAdvice(name: string): AwsAdvice | undefined {
  return ADVICE.get(SAME.get(name) ?? name);
}
