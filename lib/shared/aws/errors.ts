/**
 * AWS's error names (KMS, STS and DynamoDB API references, Common errors): what each means, and what to do about it. The enclave
 * and the parent use the same table.
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

/**
 * Who reads a hint: `enclave` is whoever calls the service with the parent's credentials; the others run `denclavectl` on the parent or at
 * an administrator's desk, to look after a key, to create one, to wrap a session key, or to keep accounts in a DynamoDB table.
 */
export type HintReader = "enclave" | "key" | "createKey" | "wrap" | "table";

/** What to do about an error. */
export interface AwsAdvice {
  readonly meaning: AwsMeaning;
  readonly hint: string;
}

interface Row {
  readonly meaning: AwsMeaning;
  readonly enclave: string;
  /** For every reader on the parent without a hint of their own. */
  readonly parent: string;
  readonly key?: string;
  readonly createKey?: string;
  readonly wrap?: string;
  readonly table?: string;
}

const DENIED: Row = {
  meaning: "denied",
  enclave:
    "The key policy or the role does not allow this call. Compare the PCRs in the policy's kms:RecipientAttestation conditions with those of " +
    "the running image; an enclave in debug mode has PCRs of zeros.",
  parent: "The caller's IAM policy, or one above it, does not allow this call.",
  key:
    "The caller needs the right in the key's policy, or in its own IAM policy where the key's policy leaves it to IAM (denclavectl policy render --inspect lets the parent look).",
  createKey: "The caller needs kms:CreateKey (and kms:TagResource, kms:CreateAlias, kms:EnableKeyRotation).",
  wrap:
    "The key policy must let this role call kms:Encrypt under app=denclave,purpose=tsk (denclavectl policy render --issuer <role>).",
  table:
    "The role needs dynamodb:GetItem, PutItem and Scan on the table (denclavectl policy iam prints the policy).",
};

const EXPIRED: Row = {
  meaning: "expired",
  enclave: "The credentials have expired: send fresh ones from the parent's IAM role.",
  parent: "The credentials have expired: log in again, or let the instance's role give fresh ones.",
};

const UNKNOWN_CREDENTIALS: Row = {
  meaning: "credentials",
  enclave: "The access key id or session token is not known to AWS: send the parent's current credentials.",
  parent:
    "AWS does not know these credentials: check the access key, and the session token that belongs to it.",
};

const WRONG_SIGNATURE: Row = {
  meaning: "credentials",
  enclave:
    "The secret access key does not belong to the access key id, or the enclave's clock is off by more than five minutes.",
  parent: "The secret access key does not belong to the access key id, or this machine's clock is wrong.",
};

const NOT_FOUND: Row = {
  meaning: "missing",
  enclave: "There is no such key in this region: check the ARN and its region.",
  parent: "Check the key's ARN: account, region and id; deleted keys are not found.",
  table: "Make it: denclavectl account create-table, or check the table's name and the region.",
};

const BUSY: Row = {
  meaning: "unavailable",
  enclave: "Too many requests to KMS: try again later.",
  parent: "Too many requests: try again later.",
};

function refused(hint: string, own: Pick<Row, "table"> = {}): Row {
  return { meaning: "refused", enclave: hint, parent: hint, ...own };
}

const ROWS: Readonly<Record<string, Row>> = {
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
    {
      table: "The table's key must be Name, a string: denclavectl account create-table makes such a table.",
    },
  ),
  KeyUnavailableException: {
    meaning: "unavailable",
    enclave: "KMS could not use the key just now: try again.",
    parent: "KMS could not use the key just now: try again.",
  },
  ThrottlingException: BUSY,
  ProvisionedThroughputExceededException: BUSY,
};

const UNKNOWN: Row = {
  meaning: "unavailable",
  enclave: "See the KMS API reference for this error.",
  parent: "Check the network, the region and the endpoint, then try again.",
};

/**
 * What to do about an AWS error.
 *
 * @param name such as `AccessDeniedException`; others than AWS's count as `unavailable`
 */
export function awsAdvice(name: string, reader: HintReader): AwsAdvice {
  const row = (Object.hasOwn(ROWS, name) ? ROWS[name] : undefined) ?? UNKNOWN;
  return { meaning: row.meaning, hint: row[reader] ?? row.parent };
}
