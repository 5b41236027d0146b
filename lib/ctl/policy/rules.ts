/**
 * The linter's rules: what defeats attestation (docs/security.md), how bad it is, and what to do about it.
 *
 * @module
 */

/** How bad a finding is: `fail` defeats attestation or keeps the enclave out, `warn` is for a person to look at. */
export type Severity = "fail" | "warn";

/** A rule. */
interface Rule {
  readonly severity: Severity;
  /** What it is against. */
  readonly about: string;
  readonly remedy: string;
}

const ATTEST =
  "Allow it with conditions on kms:RecipientAttestation:PCR0, PCR1 and PCR2, with StringEqualsIgnoreCase (denclavectl policy render).";

const NAME_THE_KEY = 'Write "Resource": "*", which in a key policy is the key.';

const fails = (about: string, remedy: string) => ({ severity: "fail", about, remedy }) as const;
const warns = (about: string, remedy: string) => ({ severity: "warn", about, remedy }) as const;

/** All rules, by id: what each is against, and the remedy. */
export const RULES = {
  "principal-everyone": fails("An Allow for everyone, in any account", "Name the parent's role."),
  "principal-wildcard": fails("A principal with a wildcard: KMS does not expand it", "Name each role."),
  "not-principal": fails("An Allow for everyone but those named", "Use Principal, with the intended roles."),
  "not-action": fails(
    "An Allow with NotAction: it allows every other action, including future ones",
    "Use Action, with the intended actions.",
  ),
  "not-resource": fails("An Allow with NotResource", NAME_THE_KEY),
  "other-resource": fails("A Resource that is not the key: the statement never applies", NAME_THE_KEY),
  "resource-by-arn": warns(
    "A Resource by ARN: the statement applies only if that is this key's",
    NAME_THE_KEY,
  ),
  "wildcard-action": fails(
    "A wildcard that includes actions that bypass attestation",
    "List the actions: for the parent kms:Decrypt and kms:GenerateDataKey with conditions, for administrators those of denclavectl policy render. If kms:* must stay for the account's root, add the guarding Deny that denclavectl policy render writes.",
  ),
  "unattested-use": fails(
    "Use of the key without an attestation document: whoever has the parent's credentials gets the plaintext",
    ATTEST,
  ),
  "re-encrypt": fails(
    "ReEncrypt takes no attestation document: an attacker can re-encrypt ciphertexts under another key",
    "Remove kms:ReEncryptFrom and kms:ReEncryptTo.",
  ),
  "create-grant": fails(
    "A grant allows use of the key without the policy's conditions",
    "Remove kms:CreateGrant.",
  ),
  "put-key-policy": fails(
    "A principal that may change the policy can remove its conditions",
    "Allow kms:PutKeyPolicy only to an administrator who is not the parent, and name it with --reviewed.",
  ),
  "replicate-key": fails(
    "A replica in another region has a policy of its own, and the same key material",
    "Remove kms:ReplicateKey.",
  ),
  "encrypt": fails(
    "Encrypt takes no attestation document: rows that the enclave opens can be forged",
    "Remove kms:Encrypt; the enclave seals with data keys.",
  ),
  "import-key-material": fails(
    "A principal that may import key material can choose the key, and so knows it",
    "Remove kms:ImportKeyMaterial; allow it only to people, for keys with origin EXTERNAL.",
  ),
  "update-alias": fails(
    "A principal that may move an alias chooses the key for every request that uses the alias",
    "Remove kms:UpdateAlias; use the key's ARN.",
  ),
  "data-key-without-plaintext": warns(
    "Data keys without plaintext are not attested, and denclave does not use them",
    "Remove the action.",
  ),
  "administrator": warns(
    "A reviewed principal may change the policy or bypass it",
    "An administrator is necessary. Reserve the role for people, require a second factor, and monitor its use.",
  ),
  "relies-on-deny": warns(
    "An Allow without conditions that only the guarding Deny makes harmless",
    "Remove the Allow of these actions, so that removing the Deny does not open the key.",
  ),
  "condition-never-met": fails(
    "An attestation condition on actions that take no document: it never allows them",
    "Leave Decrypt, GenerateDataKey, GenerateDataKeyPair, DeriveSharedSecret and GenerateRandom in the statement; move the others to one of their own, or remove them.",
  ),
  "negated-operator": fails(
    "A negated operator in an Allow: it holds when there is no document",
    "Use StringEqualsIgnoreCase with the builds' values.",
  ),
  "if-exists": fails(
    "…IfExists in an Allow: it holds when there is no document",
    "Use StringEqualsIgnoreCase.",
  ),
  "for-all-values": fails(
    "ForAllValues in an Allow: it holds when there is no document",
    "Use StringEqualsIgnoreCase without a qualifier.",
  ),
  "set-qualifier": warns("ForAnyValue on a key that has one value", "Leave the qualifier out."),
  "like-wildcard": fails(
    "A wildcard in a measurement: other images match",
    "Use StringEqualsIgnoreCase with the whole value.",
  ),
  "null-condition": fails(
    "Null tests whether there is a document, but not which image it is for",
    "Use StringEqualsIgnoreCase with the builds' values.",
  ),
  "wrong-operator": fails("An operator that does not compare measurements", "Use StringEqualsIgnoreCase."),
  "nitrotpm": fails(
    "NitroTPMPCR is for instances with a TPM, not for enclaves",
    "Use kms:RecipientAttestation:PCR0, PCR1, PCR2.",
  ),
  "unknown-condition-key": fails(
    "A condition key that no request to KMS has",
    "Correct its spelling: kms:RecipientAttestation:PCR0, PCR1, PCR2, PCR3, PCR4, PCR8 or ImageSha384.",
  ),
  "allows-nobody": fails(
    "An Allow that asks for a document, and that no enclave can use",
    "Name the parent's role, and leave out conditions that the enclave's requests cannot meet.",
  ),
  "parent-issues": warns(
    "The parent may wrap session keys, and so can know them",
    "Let a role of the data's owner wrap them (--issuer of denclavectl policy render).",
  ),
  "pcr-value": fails(
    "A value that is not a measurement",
    "A PCR is 96 hex digits: no 0x, no space, no wildcard.",
  ),
  "no-values": fails("A condition without values", "Give the builds' values."),
  "zero-pcr": fails(
    "All zeros matches every enclave in debug mode, whose console the parent can read",
    "Take the measurements of the EIF (denclavectl eif describe), and run it without --debug-mode.",
  ),
  "pcr-case": warns(
    "Upper-case hex with a case-sensitive operator: KMS compares with lower case",
    "Use StringEqualsIgnoreCase, or write the value in lower case.",
  ),
  "mixed-pcrs": fails(
    "Lists for several PCRs in one statement: they also match a mixture of builds",
    "Write one statement for each build (denclavectl policy rollover).",
  ),
  "contradiction": fails(
    "Conditions that no build can meet together",
    "Keep one condition for each PCR; ImageSha384 is PCR0.",
  ),
  "pcr0-alone": warns(
    "PCR0 without PCR1 and PCR2",
    "PCR0 covers the image; give all three, so that a mistake in one does not open the key.",
  ),
  "pcr0-missing": warns("PCR1 and PCR2 without PCR0", "Add PCR0."),
  "pcr1-alone": fails("PCR1 without PCR2: any application on that kernel", "Add PCR0 and PCR2."),
  "pcr2-without-pcr1": fails(
    "PCR2 without PCR1: another kernel and init with the same application",
    "Add PCR0 and PCR1.",
  ),
  "only-pcr3-pcr4": fails(
    "Only PCR3 or PCR4: any enclave of that role or instance has them, even in debug mode",
    "Add PCR0, PCR1 and PCR2.",
  ),
  "pcr8-alone": warns(
    "PCR8 without PCR0: it matches every image ever signed with the certificate, including old ones",
    "Add PCR0, PCR1 and PCR2, or retire the certificate with the images.",
  ),
  "other-pcrs-only": fails(
    "Only PCRs that the image's software sets, and none that identifies the image",
    "Add PCR0, PCR1 and PCR2.",
  ),
  "deny-several-negated": fails(
    "Several negated PCRs in one Deny: it denies only what differs in all of them",
    "Write one Deny for each PCR; PCR0 is enough.",
  ),
  "deny-for-any-value": fails(
    "ForAnyValue with a negated operator in a Deny: it does not deny requests without a document",
    "Use StringNotEqualsIgnoreCase without a qualifier.",
  ),
  "deny-exempts": warns("A Deny that exempts principals", 'Write "Principal": {"AWS": "*"}.'),
  "deny-locks-out": fails(
    "A Deny after which nobody can change the policy",
    "Deny the actions that use the key, and not kms:PutKeyPolicy.",
  ),
  "no-guard": warns(
    "No guarding Deny: a grant or a later Allow bypasses the conditions",
    "Add the Deny of denclavectl policy render (StringNotEqualsIgnoreCase on PCR0 with the builds) for all four actions that use the key.",
  ),
  "deny-refuses-build": fails(
    "A build that an Allow admits but another Deny refuses",
    "Remove or correct that Deny: denclavectl policy render writes one guarding Deny, on PCR0.",
  ),
  "deny-depends": warns(
    "A Deny that may refuse the enclave, depending on more than its measurements",
    "Check that the enclave's requests do not meet its conditions, or remove it.",
  ),
  "guard-misses-build": fails(
    "A build that an Allow admits but the guarding Deny refuses",
    "Add its PCR0 to the Deny's list (denclavectl policy rollover does both).",
  ),
  "guard-stale": warns(
    "The guarding Deny lists a build that no Allow admits",
    "Remove it (denclavectl policy finalise).",
  ),
  "nobody-administers": warns(
    "Nobody can ever change the policy",
    "Allow kms:PutKeyPolicy to an administrator who is not the parent.",
  ),
  "duplicate-sid": warns("Two statements with the same Sid", "Give each statement its own Sid."),
  "unknown-action": warns("An action that KMS does not have", "Check its spelling, or remove it."),
  "external-origin": warns(
    "The key material was created outside AWS: copies may exist",
    "Use a key whose material KMS created (Origin AWS_KMS), unless you trust its source.",
  ),
  "multi-region": warns(
    "A multi-Region key: each replica has its own policy",
    "Lint the policy of every replica.",
  ),
  "live-grant": fails(
    "A grant allows use of the key without the policy's conditions",
    "Revoke it: aws kms revoke-grant.",
  ),
} satisfies Readonly<Record<string, Rule>>;

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
