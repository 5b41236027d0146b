/**
 * `denclavectl policy apply`: sets the policy of a key.
 *
 * @module
 */
import { EXIT, type Options } from "../../shared/cli/options.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { requireKey } from "../terminal/io.ts";
import {
  AWS_OPTIONS,
  JSON_OPTION,
  KEY_OPTION,
  LINT_OPTIONS,
  POLICY_FILE_OPTION,
} from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { fillFromPolicyFile, givenPolicy, lintOptionsOf, openAdmin } from "./policy_input.ts";
import { formatDiff, formatLint, formatRisks } from "./policy_text.ts";

const OUTCOMES = {
  refused:
    "Nothing was changed: a finding fails. --reviewed names an administrator, --accept a rule that is taken as a warning.",
  unchanged: "The key has this policy already.",
  applied: "The key has the new policy.",
  "dry-run": "Nothing was changed. --yes makes the change.",
} as const;

/** `policy apply` */
export const POLICY_APPLY: Command = {
  path: "policy apply",
  summary: "set the policy of a key; without --yes, only show the difference",
  usage: "<file>|- -k <key arn> [--yes] [options]",
  about:
    `Shows what would change, and what the linter says; with --yes changes it. Refused when a finding fails, or when
the caller could not change the policy again. Warns when one principal alone could, and when the account's root loses access.`,
  options: [
    KEY_OPTION,
    { name: "yes", help: "make the change; without it nothing is changed" },
    ...LINT_OPTIONS,
    ...AWS_OPTIONS,
    POLICY_FILE_OPTION,
    JSON_OPTION,
  ],
  positionals: 1,
  run: apply,
};

async function apply(given: Options, io: CtlIo): Promise<number> {
  const options = await fillFromPolicyFile(given, POLICY_APPLY.options);
  // Report what is missing before the AWS SDK is loaded.
  requireKey(options);
  const after = await givenPolicy(options);
  const { applyChange, planChange } = await import("../policy/apply.ts");
  using admin = await openAdmin(options, io);
  const change = await planChange(admin, after, lintOptionsOf(options));
  const { difference, lint, risks, callerArn } = change;
  // Before the change, so that it is seen also when that fails.
  if (!options.on("json")) {
    io.stdout([...formatDiff(difference), "\n", ...formatLint(lint), "\n", ...formatRisks(risks)]);
  }
  const isWanted = options.on("yes") && lint.ok && difference.length > 0;
  const isSeen = isWanted ? await applyChange(admin, change) : false;
  const outcome = !lint.ok
    ? "refused"
    : difference.length === 0
    ? "unchanged"
    : isWanted
    ? "applied"
    : "dry-run";
  printResult(options, io, {
    json: { outcome, confirmed: isSeen, caller: callerArn, difference, lint, risks },
    text: `${OUTCOMES[outcome]}${isWanted && !isSeen ? " KMS does not show it yet." : ""}`,
  });
  return lint.ok ? EXIT.ok : EXIT.failed;
}
