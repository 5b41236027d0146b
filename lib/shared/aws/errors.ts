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

const DENIED: AwsAdvice = {
  meaning: "denied",
  hint:
    "The key policy or the role does not allow this call. Compare the PCRs in the policy's kms:RecipientAttestation conditions with those of " +
    "the running image; an enclave in debug mode has PCRs of zeros.",
};
const EXPIRED: AwsAdvice = {
  meaning: "expired",
  hint: "The credentials have expired: send fresh ones from the parent's IAM role.",
};
const UNKNOWN_CREDENTIALS: AwsAdvice = {
  meaning: "credentials",
  hint: "The access key id or session token is not known to AWS: send the parent's current credentials.",
};
const WRONG_SIGNATURE: AwsAdvice = {
  meaning: "credentials",
  hint:
    "The secret access key does not belong to the access key id, or the enclave's clock is off by more than five minutes.",
};
const NOT_FOUND: AwsAdvice = {
  meaning: "missing",
  hint: "There is no such key in this region: check the ARN and its region.",
};
const BUSY: AwsAdvice = { meaning: "unavailable", hint: "Too many requests to KMS: try again later." };
const refused = (hint: string): AwsAdvice => ({ meaning: "refused", hint });

const ADVICE: Readonly<Record<string, AwsAdvice>> = {
  AccessDeniedException: DENIED,
  // The names of STS errors have no "Exception" suffix.
  AccessDenied: DENIED,
  ExpiredTokenException: EXPIRED,
  ExpiredToken: EXPIRED,
  UnrecognizedClientException: UNKNOWN_CREDENTIALS,
  InvalidClientTokenId: UNKNOWN_CREDENTIALS,
  InvalidSignatureException: WRONG_SIGNATURE,
  SignatureDoesNotMatch: WRONG_SIGNATURE,
  NotFoundException: NOT_FOUND,
  ResourceNotFoundException: NOT_FOUND,
  InvalidCiphertextException: refused(
    "The ciphertext was not made by this key, was changed, or was made under another EncryptionContext.",
  ),
  IncorrectKeyException: refused("The ciphertext was made by another KMS key than the one named."),
  DisabledException: refused("The KMS key is disabled: enable it."),
  KMSInvalidStateException: refused(
    "The KMS key is disabled, or pending deletion or import: enable it, cancel the deletion or finish the import.",
  ),
  MalformedPolicyDocumentException: refused(
    "A principal may not exist (any more), or the policy would lock the caller out.",
  ),
  ValidationException: refused(
    "KMS refused the request's form: check that the key is symmetric and the ARN complete.",
  ),
  KeyUnavailableException: {
    meaning: "unavailable",
    hint: "KMS could not use the key just now: try again.",
  },
  ThrottlingException: BUSY,
  ProvisionedThroughputExceededException: BUSY,
};

/** What to do about an AWS error such as `AccessDeniedException`; undefined for other names. */
export function awsAdvice(name: string): AwsAdvice | undefined {
  return Object.hasOwn(ADVICE, name) ? ADVICE[name] : undefined;
}
