/**
 * What a key policy may allow: KMS's actions, and what each means for a key that only an attested enclave is to use.
 *
 * @module
 */
import { foldCase, type KeyPolicyStatement } from "../aws/key_policy.ts";

/** KMS's actions (Service Authorization Reference). */
export const KMS_ACTIONS = [
  "CancelKeyDeletion",
  "ConnectCustomKeyStore",
  "CreateAlias",
  "CreateCustomKeyStore",
  "CreateGrant",
  "CreateKey",
  "Decrypt",
  "DeleteAlias",
  "DeleteCustomKeyStore",
  "DeleteImportedKeyMaterial",
  "DeriveSharedSecret",
  "DescribeCustomKeyStores",
  "DescribeKey",
  "DisableKey",
  "DisableKeyRotation",
  "DisconnectCustomKeyStore",
  "EnableKey",
  "EnableKeyRotation",
  "Encrypt",
  "GenerateDataKey",
  "GenerateDataKeyPair",
  "GenerateDataKeyPairWithoutPlaintext",
  "GenerateDataKeyWithoutPlaintext",
  "GenerateMac",
  "GenerateRandom",
  "GetKeyPolicy",
  "GetKeyRotationStatus",
  "GetParametersForImport",
  "GetPublicKey",
  "ImportKeyMaterial",
  "ListAliases",
  "ListGrants",
  "ListKeyPolicies",
  "ListKeyRotations",
  "ListKeys",
  "ListResourceTags",
  "ListRetirableGrants",
  "PutKeyPolicy",
  "ReEncryptFrom",
  "ReEncryptTo",
  "ReplicateKey",
  "RetireGrant",
  "RevokeGrant",
  "RotateKeyOnDemand",
  "ScheduleKeyDeletion",
  "Sign",
  "SynchronizeMultiRegionKey",
  "TagResource",
  "UntagResource",
  "UpdateAlias",
  "UpdateCustomKeyStore",
  "UpdateKeyDescription",
  "UpdatePrimaryRegion",
  "Verify",
  "VerifyMac",
] as const;

/** One of KMS's actions, without `kms:`. */
export type KmsAction = (typeof KMS_ACTIONS)[number];

/** With an attestation document only the enclave can read their results; without one, any permitted caller can. */
export const ATTESTED_USE = [
  "Decrypt",
  "DeriveSharedSecret",
  "GenerateDataKey",
  "GenerateDataKeyPair",
] as const satisfies readonly KmsAction[];

/** Actions that take an attestation document. GenerateRandom uses no key. */
export const ATTESTING: ReadonlySet<KmsAction> = new Set([...ATTESTED_USE, "GenerateRandom"]);

/** Actions that bypass attestation, with the rule that reports them. */
export const DANGEROUS = {
  Decrypt: "unattested-use",
  DeriveSharedSecret: "unattested-use",
  GenerateDataKey: "unattested-use",
  GenerateDataKeyPair: "unattested-use",
  ReEncryptFrom: "re-encrypt",
  ReEncryptTo: "re-encrypt",
  CreateGrant: "create-grant",
  PutKeyPolicy: "put-key-policy",
  ReplicateKey: "replicate-key",
  Encrypt: "encrypt",
  UpdateAlias: "update-alias",
  DeleteAlias: "update-alias",
  UpdatePrimaryRegion: "replicate-key",
  ImportKeyMaterial: "import-key-material",
  GenerateDataKeyPairWithoutPlaintext: "data-key-without-plaintext",
  GenerateDataKeyWithoutPlaintext: "data-key-without-plaintext",
} as const satisfies Partial<Record<KmsAction, string>>;

/** An action that bypasses attestation. */
export type DangerousAction = keyof typeof DANGEROUS;

/** Whether an action bypasses attestation. */
export function isDangerous(action: KmsAction): action is DangerousAction {
  return Object.hasOwn(DANGEROUS, action);
}

/** Whether a pattern has wildcards. */
export function hasWildcard(pattern: string): boolean {
  return /[*?]/.test(pattern);
}

/** Matches as IAM does: `*` is any run of characters, `?` is any one. No backtracking, since the pattern is untrusted. */
function matches(pattern: string, name: string): boolean {
  let reached = [0];
  for (const sign of pattern) {
    const [first] = reached;
    if (first === undefined) return false;
    reached = sign === "*"
      ? Array.from({ length: name.length - first + 1 }, (_, index) => first + index)
      : reached.filter((at) => at < name.length && (sign === "?" || sign === name[at])).map((at) => at + 1);
  }
  return reached.at(-1) === name.length;
}

const LOWER: readonly (readonly [string, KmsAction])[] = KMS_ACTIONS.map((action) =>
  [`kms:${foldCase(action)}`, action] as const
);

/**
 * The KMS actions that a pattern stands for, whatever the case of ASCII letters; none for other services'
 * and misspelt ones.
 */
export function expandAction(pattern: string): readonly KmsAction[] {
  // Consecutive stars are equivalent to one.
  const lower = foldCase(pattern).replace(/\*{2,}/g, "*");
  const fits = hasWildcard(lower) ? (name: string) => matches(lower, name) : (name: string) => name === lower;
  return LOWER.filter(([name]) => fits(name)).map(([, action]) => action);
}

/** The KMS actions that a statement is about. */
export function actionsOf({ Action, NotAction = [] }: KeyPolicyStatement): ReadonlySet<KmsAction> {
  if (Action !== undefined) return new Set(Action.flatMap(expandAction));
  const spared = new Set(NotAction.flatMap(expandAction));
  return new Set(KMS_ACTIONS.filter((action) => !spared.has(action)));
}
