/**
 * KMS's error names, and what each means to the person who reads it.
 *
 * @module
 */
/** KMS's own refusal: `__type` and `message` of its answer. */
export interface KmsReason {
  /** Such as `AccessDeniedException`. */
  readonly name: string;
  /** For people; may be empty. */
  readonly message: string;
}

const MAX_MESSAGE_LENGTH = 500;

/** What to do about each error of KMS (API reference, Common errors and Decrypt). */
const HINTS: Readonly<Record<string, string>> = {
  AccessDeniedException:
    "The key policy or the role does not allow this call. Compare the PCRs in the policy's kms:RecipientAttestation conditions with those of " +
    "the running image; an enclave in debug mode has PCRs of zeros.",
  ExpiredTokenException: "The credentials have expired: send fresh ones from the parent's IAM role.",
  UnrecognizedClientException:
    "The access key id or session token is not known to AWS: send the parent's current credentials.",
  InvalidClientTokenId: "The access key id is not known to AWS: send the parent's current credentials.",
  InvalidSignatureException:
    "The secret access key does not fit the access key id, or the enclave's clock is off by more than five minutes.",
  SignatureDoesNotMatch: "The secret access key does not fit the access key id.",
  InvalidCiphertextException:
    "The ciphertext was not made by this key, was changed, or was made under another EncryptionContext.",
  IncorrectKeyException: "The ciphertext was made by another KMS key than the one named.",
  NotFoundException: "There is no such key in this region: check the ARN and its region.",
  DisabledException: "The KMS key is disabled: enable it.",
  KMSInvalidStateException:
    "The KMS key is pending deletion or import: cancel the deletion or finish the import.",
  KeyUnavailableException: "KMS could not use the key just now: try again.",
  ThrottlingException: "Too many requests to KMS: try again later.",
  ValidationException:
    "KMS refused the request's form: check that the key is symmetric and the ARN complete.",
};

/** The `__type` and `message` of KMS's answer, cut to what a log can take. Undefined when it has none. */
export function parseKmsReason(answer: Readonly<Record<string, unknown>>): KmsReason | undefined {
  const type = answer["__type"];
  if (typeof type !== "string") return undefined;
  const name = type.slice(type.lastIndexOf("#") + 1);
  if (!/^[A-Za-z]{1,64}$/.test(name)) return undefined;
  const message = answer["message"] ?? answer["Message"];
  return { name, message: typeof message === "string" ? message.slice(0, MAX_MESSAGE_LENGTH) : "" };
}

const STAMP = /^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z$/;

function timeOf(stamp: string | undefined): number {
  return Date.parse((stamp ?? "").replace(STAMP, "$1-$2-$3T$4:$5:$6Z"));
}

/**
 * How far this clock is off, by KMS's own words: "Signature expired: <ours> is now earlier than … (<KMS's> - 5 min.)", or "not yet current".
 *
 * @returns seconds, positive when this clock is ahead; undefined when the words are about something else.
 */
export function clockSkewOf({ message }: KmsReason): number | undefined {
  const [, ours, theirs] =
    /Signature (?:expired|not yet current): ([0-9]{8}T[0-9]{6}Z) [^(]{0,100}\(([0-9]{8}T[0-9]{6}Z) [-+]/.exec(
      message,
    ) ?? [];
  const seconds = Math.round((timeOf(ours) - timeOf(theirs)) / 1000);
  return Number.isNaN(seconds) ? undefined : seconds;
}

/** The skew as words for a person. */
export function describeSkew(seconds: number): string {
  return `the enclave's clock is ${Math.abs(seconds)} s ${seconds < 0 ? "behind" : "ahead of"} KMS's`;
}

/** What a person can do about a refusal, or about a failure without one. */
export function hintFor(reason: KmsReason | undefined): string {
  if (reason === undefined) {
    return "KMS's own reason could not be had. Look at the SDK's lines on stderr, and run the same call against AWS from the parent.";
  }
  const skew = clockSkewOf(reason);
  if (skew !== undefined) {
    return `${
      describeSkew(skew)
    }: five minutes are allowed. Keep it by the hypervisor's (chrony with /dev/ptp0), or start the enclave anew.`;
  }
  return (Object.hasOwn(HINTS, reason.name) ? HINTS[reason.name] : undefined) ??
    "See the KMS API reference for this error.";
}
