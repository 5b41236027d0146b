/**
 * The linter's rules: what defeats attestation (docs/security.md), how bad it is, and what to do about it.
 *
 * @module
 */

/** How bad a finding is: `fail` defeats attestation or keeps the enclave out, `warn` is for a person to look at. */
export type Severity = "fail" | "warn";

/** A rule. */
export interface Rule {
  readonly severity: Severity;
  /** What it is against. */
  readonly about: string;
  readonly remedy: string;
}

const ATTEST =
  "Allow it with conditions on kms:RecipientAttestation:PCR0, PCR1 and PCR2, with StringEqualsIgnoreCase (denclavectl policy render).";

/** All rules, by id. */
export const RULES = {
  "principal-everyone": {
    severity: "fail",
    about: "An Allow for everyone, in any account",
    remedy: "Name the parent's role.",
  },
  "principal-wildcard": {
    severity: "fail",
    about: "A principal with a wildcard: KMS does not expand it",
    remedy: "Name each role.",
  },
  "not-principal": {
    severity: "fail",
    about: "An Allow for everyone but those named",
    remedy: "Use Principal, with the intended roles.",
  },
  "not-action": {
    severity: "fail",
    about: "An Allow with NotAction: it allows every other action, including future ones",
    remedy: "Use Action, with the intended actions.",
  },
  "not-resource": {
    severity: "fail",
    about: "An Allow with NotResource",
    remedy: 'Write "Resource": "*", which in a key policy is the key.',
  },
  "other-resource": {
    severity: "fail",
    about: "A Resource that is not the key: the statement never applies",
    remedy: 'Write "Resource": "*", which in a key policy is the key.',
  },
  "resource-by-arn": {
    severity: "warn",
    about: "A Resource by ARN: the statement applies only if that is this key's",
    remedy: 'Write "Resource": "*", which in a key policy is the key.',
  },
  "wildcard-action": {
    severity: "fail",
    about: "A wildcard that includes actions that bypass attestation",
    remedy:
      "List the actions: for the parent kms:Decrypt and kms:GenerateDataKey with conditions, for administrators those of denclavectl policy render. If kms:* must stay for the account's root, add the guarding Deny that denclavectl policy render writes.",
  },
  "unattested-use": {
    severity: "fail",
    about:
      "Use of the key without an attestation document: whoever has the parent's credentials gets the plaintext",
    remedy: ATTEST,
  },
  "re-encrypt": {
    severity: "fail",
    about:
      "ReEncrypt takes no attestation document: an attacker can re-encrypt ciphertexts under another key",
    remedy: "Remove kms:ReEncryptFrom and kms:ReEncryptTo.",
  },
  "create-grant": {
    severity: "fail",
    about: "A grant allows use of the key without the policy's conditions",
    remedy: "Remove kms:CreateGrant.",
  },
  "put-key-policy": {
    severity: "fail",
    about: "A principal that may change the policy can remove its conditions",
    remedy:
      "Allow kms:PutKeyPolicy only to an administrator who is not the parent, and name it with --reviewed.",
  },
  "replicate-key": {
    severity: "fail",
    about: "A replica in another region has a policy of its own, and the same key material",
    remedy: "Remove kms:ReplicateKey.",
  },
  "encrypt": {
    severity: "fail",
    about: "Encrypt takes no attestation document: rows that the enclave opens can be forged",
    remedy: "Remove kms:Encrypt; the enclave seals with data keys.",
  },
  "import-key-material": {
    severity: "fail",
    about: "A principal that may import key material can choose the key, and so knows it",
    remedy: "Remove kms:ImportKeyMaterial; allow it only to people, for keys with origin EXTERNAL.",
  },
  "update-alias": {
    severity: "fail",
    about: "A principal that may move an alias chooses the key for every request that uses the alias",
    remedy: "Remove kms:UpdateAlias; use the key's ARN.",
  },
  "data-key-without-plaintext": {
    severity: "warn",
    about: "Data keys without plaintext are not attested, and denclave does not use them",
    remedy: "Remove the action.",
  },
  "administrator": {
    severity: "warn",
    about: "A reviewed principal may change the policy or bypass it",
    remedy:
      "An administrator is necessary. Reserve the role for people, require a second factor, and monitor its use.",
  },
  "relies-on-deny": {
    severity: "warn",
    about: "An Allow without conditions that only the guarding Deny makes harmless",
    remedy: "Remove the Allow of these actions, so that removing the Deny does not open the key.",
  },
  "condition-never-met": {
    severity: "fail",
    about: "An attestation condition on actions that take no document: it never allows them",
    remedy:
      "Leave Decrypt, GenerateDataKey, GenerateDataKeyPair, DeriveSharedSecret and GenerateRandom in the statement; move the others to one of their own, or remove them.",
  },
  "negated-operator": {
    severity: "fail",
    about: "A negated operator in an Allow: it holds when there is no document",
    remedy: "Use StringEqualsIgnoreCase with the builds' values.",
  },
  "if-exists": {
    severity: "fail",
    about: "…IfExists in an Allow: it holds when there is no document",
    remedy: "Use StringEqualsIgnoreCase.",
  },
  "for-all-values": {
    severity: "fail",
    about: "ForAllValues in an Allow: it holds when there is no document",
    remedy: "Use StringEqualsIgnoreCase without a qualifier.",
  },
  "set-qualifier": {
    severity: "warn",
    about: "ForAnyValue on a key that has one value",
    remedy: "Leave the qualifier out.",
  },
  "like-wildcard": {
    severity: "fail",
    about: "A wildcard in a measurement: other images match",
    remedy: "Use StringEqualsIgnoreCase with the whole value.",
  },
  "null-condition": {
    severity: "fail",
    about: "Null tests whether there is a document, but not which image it is for",
    remedy: "Use StringEqualsIgnoreCase with the builds' values.",
  },
  "wrong-operator": {
    severity: "fail",
    about: "An operator that does not compare measurements",
    remedy: "Use StringEqualsIgnoreCase.",
  },
  "nitrotpm": {
    severity: "fail",
    about: "NitroTPMPCR is for instances with a TPM, not for enclaves",
    remedy: "Use kms:RecipientAttestation:PCR0, PCR1, PCR2.",
  },
  "unknown-condition-key": {
    severity: "fail",
    about: "A condition key that no request to KMS has",
    remedy:
      "Correct its spelling: kms:RecipientAttestation:PCR0, PCR1, PCR2, PCR3, PCR4, PCR8 or ImageSha384.",
  },
  "allows-nobody": {
    severity: "fail",
    about: "An Allow that asks for a document, and that no enclave can use",
    remedy: "Name the parent's role, and leave out conditions that the enclave's requests cannot meet.",
  },
  "parent-issues": {
    severity: "warn",
    about: "The parent may wrap session keys, and so can know them",
    remedy: "Let a role of the data's owner wrap them (--issuer of denclavectl policy render).",
  },
  "pcr-value": {
    severity: "fail",
    about: "A value that is not a measurement",
    remedy: "A PCR is 96 hex digits: no 0x, no space, no wildcard.",
  },
  "no-values": {
    severity: "fail",
    about: "A condition without values",
    remedy: "Give the builds' values.",
  },
  "zero-pcr": {
    severity: "fail",
    about: "All zeros matches every enclave in debug mode, whose console the parent can read",
    remedy: "Take the measurements of the EIF (denclavectl eif describe), and run it without --debug-mode.",
  },
  "pcr-case": {
    severity: "warn",
    about: "Upper-case hex with a case-sensitive operator: KMS compares with lower case",
    remedy: "Use StringEqualsIgnoreCase, or write the value in lower case.",
  },
  "mixed-pcrs": {
    severity: "fail",
    about: "Lists for several PCRs in one statement: they also match a mixture of builds",
    remedy: "Write one statement for each build (denclavectl policy rollover).",
  },
  "contradiction": {
    severity: "fail",
    about: "Conditions that no build can meet together",
    remedy: "Keep one condition for each PCR; ImageSha384 is PCR0.",
  },
  "pcr0-alone": {
    severity: "warn",
    about: "PCR0 without PCR1 and PCR2",
    remedy: "PCR0 covers the image; give all three, so that a mistake in one does not open the key.",
  },
  "pcr0-missing": {
    severity: "warn",
    about: "PCR1 and PCR2 without PCR0",
    remedy: "Add PCR0.",
  },
  "pcr1-alone": {
    severity: "fail",
    about: "PCR1 without PCR2: any application on that kernel",
    remedy: "Add PCR0 and PCR2.",
  },
  "pcr2-without-pcr1": {
    severity: "fail",
    about: "PCR2 without PCR1: another kernel and init with the same application",
    remedy: "Add PCR0 and PCR1.",
  },
  "only-pcr3-pcr4": {
    severity: "fail",
    about: "Only PCR3 or PCR4: any enclave of that role or instance has them, even in debug mode",
    remedy: "Add PCR0, PCR1 and PCR2.",
  },
  "pcr8-alone": {
    severity: "warn",
    about: "PCR8 without PCR0: it matches every image ever signed with the certificate, including old ones",
    remedy: "Add PCR0, PCR1 and PCR2, or retire the certificate with the images.",
  },
  "other-pcrs-only": {
    severity: "fail",
    about: "Only PCRs that the image's software sets, and none that identifies the image",
    remedy: "Add PCR0, PCR1 and PCR2.",
  },
  "deny-several-negated": {
    severity: "fail",
    about: "Several negated PCRs in one Deny: it denies only what differs in all of them",
    remedy: "Write one Deny for each PCR; PCR0 is enough.",
  },
  "deny-for-any-value": {
    severity: "fail",
    about: "ForAnyValue with a negated operator in a Deny: it does not deny requests without a document",
    remedy: "Use StringNotEqualsIgnoreCase without a qualifier.",
  },
  "deny-exempts": {
    severity: "warn",
    about: "A Deny that exempts principals",
    remedy: 'Write "Principal": {"AWS": "*"}.',
  },
  "deny-locks-out": {
    severity: "fail",
    about: "A Deny after which nobody can change the policy",
    remedy: "Deny the actions that use the key, and not kms:PutKeyPolicy.",
  },
  "no-guard": {
    severity: "warn",
    about: "No guarding Deny: a grant or a later Allow bypasses the conditions",
    remedy:
      "Add the Deny of denclavectl policy render (StringNotEqualsIgnoreCase on PCR0 with the builds) for all four actions that use the key.",
  },
  "deny-refuses-build": {
    severity: "fail",
    about: "A build that an Allow admits but another Deny refuses",
    remedy: "Remove or correct that Deny: denclavectl policy render writes one guarding Deny, on PCR0.",
  },
  "deny-depends": {
    severity: "warn",
    about: "A Deny that may refuse the enclave, depending on more than its measurements",
    remedy: "Check that the enclave's requests do not meet its conditions, or remove it.",
  },
  "guard-misses-build": {
    severity: "fail",
    about: "A build that an Allow admits but the guarding Deny refuses",
    remedy: "Add its PCR0 to the Deny's list (denclavectl policy rollover does both).",
  },
  "guard-stale": {
    severity: "warn",
    about: "The guarding Deny lists a build that no Allow admits",
    remedy: "Remove it (denclavectl policy finalise).",
  },
  "nobody-administers": {
    severity: "warn",
    about: "Nobody can ever change the policy",
    remedy: "Allow kms:PutKeyPolicy to an administrator who is not the parent.",
  },
  "duplicate-sid": {
    severity: "warn",
    about: "Two statements with the same Sid",
    remedy: "Give each statement its own Sid.",
  },
  "unknown-action": {
    severity: "warn",
    about: "An action that KMS does not have",
    remedy: "Check its spelling, or remove it.",
  },
  "external-origin": {
    severity: "warn",
    about: "The key material was created outside AWS: copies may exist",
    remedy: "Use a key whose material KMS created (Origin AWS_KMS), unless you trust its source.",
  },
  "multi-region": {
    severity: "warn",
    about: "A multi-Region key: each replica has its own policy",
    remedy: "Lint the policy of every replica.",
  },
  "live-grant": {
    severity: "fail",
    about: "A grant allows use of the key without the policy's conditions",
    remedy: "Revoke it: aws kms revoke-grant.",
  },
} as const satisfies Readonly<Record<string, Rule>>;

/** A rule's id. */
export type RuleId = keyof typeof RULES;

/** Whether there is a rule of that name. */
export function isRuleId(name: string): name is RuleId {
  return Object.hasOwn(RULES, name);
}

/** What the linter found. */
export interface Finding {
  readonly rule: RuleId;
  readonly severity: Severity;
  /** Sid, or place such as `#2`; undefined when it is about the whole, or the key. */
  readonly statement: string | undefined;
  readonly message: string;
  readonly remedy: string;
}

/** Makes a finding. */
export function finding(
  rule: RuleId,
  statement: string | undefined,
  seen: string,
  severity: Severity = RULES[rule].severity,
): Finding {
  const { about, remedy } = RULES[rule];
  return { rule, severity, statement, message: seen === "" ? about : `${about}: ${seen}`, remedy };
}
