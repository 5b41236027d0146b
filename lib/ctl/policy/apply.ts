/**
 * Applies a key policy: computes and shows the changes first, and refuses a policy that locks the caller out.
 *
 * @module
 */
import type { KeyAdmin } from "../aws/key_admin.ts";
import { diffKeyPolicies, type DiffLine } from "./diff.ts";
import { PolicyError } from "./errors.ts";
import { lockedOut, lockOutRisks } from "./evaluate.ts";
import { formatKeyPolicy, type KeyPolicy, readKeyPolicy } from "../aws/key_policy.ts";
import { type KeyFacts, lintKeyPolicy, type LintOptions, type LintReport } from "./lint.ts";

/** What would change. */
interface PolicyChange {
  readonly before: KeyPolicy;
  readonly after: KeyPolicy;
  readonly difference: readonly DiffLine[];
  /** Of the new policy, with what is known of the key. */
  readonly lint: LintReport;
  /** How it makes a later lock-out likelier: sentences. */
  readonly risks: readonly string[];
  readonly callerArn: string;
}

/** How often the new policy is looked for afterwards. */
const POLLS = 10;
const POLL_MS = 500;

/** What is known of a key, beside its policy. @throws {KeyAdminError} */
export async function keyFacts(admin: KeyAdmin): Promise<KeyFacts> {
  const { origin, multiRegion } = await admin.describe();
  return { origin, multiRegion, grants: await admin.listGrants() };
}

/**
 * Computes a change without applying it.
 *
 * @throws {PolicyError} `locks_out` when the caller could not change the policy again.
 */
export async function planChange(
  admin: KeyAdmin,
  after: KeyPolicy,
  options: LintOptions = {},
): Promise<PolicyChange> {
  const callerArn = await admin.callerArn();
  const before = readKeyPolicy(await admin.getPolicy());
  const reason = lockedOut(after, callerArn);
  if (reason !== undefined) {
    throw new PolicyError(`Refused to apply the policy: ${reason}`, {
      code: "locks_out",
      hint:
        "Make the change as an administrator whom the new policy allows kms:PutKeyPolicy without a condition, or add yours to administrators in the policy file (without one: --admin of policy render).",
    });
  }
  const lint = lintKeyPolicy(after, { ...options, facts: await keyFacts(admin) });
  const risks = lockOutRisks(before, after);
  return { before, after, difference: diffKeyPolicies(before, after), lint, risks, callerArn };
}

/**
 * Applies a change that was computed and shown.
 *
 * @returns whether the new policy was seen; KMS may take a while
 * @throws {PolicyError} `policy_changed` when the policy is no longer what the change was worked out from.
 */
export async function applyChange(
  admin: KeyAdmin,
  { before, after }: PolicyChange,
): Promise<boolean> {
  const now = readKeyPolicy(await admin.getPolicy());
  if (diffKeyPolicies(before, now).length > 0) {
    throw new PolicyError("The key's policy was changed in the meantime", {
      code: "policy_changed",
      hint: "Nothing was changed. Review the difference again.",
    });
  }
  await admin.putPolicy(formatKeyPolicy(after));
  for (let poll = 0; poll < POLLS; poll++) {
    if (poll > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (diffKeyPolicies(readKeyPolicy(await admin.getPolicy()), after).length === 0) return true;
  }
  return false;
}
