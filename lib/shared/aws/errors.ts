/**
 * AWS's error names (KMS, STS and DynamoDB API references, Common errors): what each means, and what whoever calls the enclave can do about it.
 *
 * @module
 */
import { field } from "../json.ts";

/** What to do about an error, by what it means for any service, and its name. */
const ADVICE = {
  /** The caller may not do this. */
  denied: {
    AccessDeniedException:
      "The key policy or the role does not allow this call. Compare the PCRs in the policy's " +
      "kms:RecipientAttestation conditions with those of the running image; an enclave in debug mode has PCRs of zeros.",
  },
  /** The credentials have expired. */
  expired: {
    ExpiredTokenException: "The credentials have expired: send fresh ones from the parent's IAM role.",
  },
  /** AWS does not accept the credentials or the signature. */
  credentials: {
    UnrecognizedClientException:
      "The access key id or session token is not known to AWS: send the parent's current credentials.",
    InvalidSignatureException:
      "The secret access key does not belong to the access key id, or the enclave's clock is off by more than five minutes.",
  },
  /** The named resource does not exist. */
  missing: {
    NotFoundException: "There is no such key in this region: check the ARN and its region.",
  },
  /** The request is invalid, or the state of the resource does not allow it. */
  refused: {
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
  },
  /** The service did not answer, or is temporarily unavailable. */
  unavailable: {
    KeyUnavailableException: "KMS could not use the key just now: try again.",
    ThrottlingException: "Too many requests to KMS: try again later.",
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, string>>>>;

/** What an AWS error means, for any service. */
export type AwsMeaning = keyof typeof ADVICE;

/** What to do about an error. */
export interface AwsAdvice {
  readonly meaning: AwsMeaning;
  readonly hint: string;
}

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
  const common = SAME.get(name) ?? name;
  for (const [meaning, hints] of Object.entries(ADVICE)) {
    const hint = field(hints, common);
    if (typeof hint === "string") return { meaning: meaning as AwsMeaning, hint };
  }
  return undefined;
}
