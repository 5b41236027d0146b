/**
 * `denclavectl policy lint` and `policy diff`.
 *
 * @module
 */
import { EXIT, type Options, UsageError } from "../../shared/cli/options.ts";
import { field } from "../../shared/json.ts";
import { type KeyPolicy, readKeyPolicy } from "../aws/key_policy.ts";
import { diffKeyPolicies } from "../policy/diff.ts";
import { type KeyFacts, lintKeyPolicy } from "../policy/lint.ts";
import { RULES } from "../policy/rules.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { readJson } from "../terminal/io.ts";
import {
  AWS_OPTIONS,
  JSON_OPTION,
  KEY_OPTION,
  LINT_OPTIONS,
  POLICY_FILE_OPTION,
} from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { fillFromPolicyFile, lintOptionsOf, openAdmin, policyOfKey, readPolicy } from "./policy_input.ts";
import { formatDiff, formatLint } from "./policy_text.ts";

/** `policy lint` */
export const POLICY_LINT: Command = {
  path: "policy lint",
  summary: "find statements of a key policy that defeat attestation",
  usage: ["[<file>] [options]", "-k <key arn> [options]", "--live [options]"],
  about:
    "Finds what defeats attestation in a key policy: of a file, of stdin, or of a key, with its origin and its grants. Exit code 1 when a finding fails.",
  options: [
    ...LINT_OPTIONS,
    {
      name: "origin",
      value: "ORIGIN",
      help: "where the key's material comes from, as KMS describes the key",
    },
    { name: "grants", value: "FILE", help: "the key's grants: JSON of aws kms list-grants" },
    KEY_OPTION,
    { name: "live", help: "lint the policy of the key that the policy file names" },
    { name: "rules", help: "print the rules" },
    ...AWS_OPTIONS,
    POLICY_FILE_OPTION,
    JSON_OPTION,
  ],
  positionals: 1,
  run: lint,
};

/** `policy diff` */
export const POLICY_DIFF: Command = {
  path: "policy diff",
  summary: "compare two key policies",
  usage: ["<file>|- <file>|- [options]", "-k <key arn> <file>|- [options]"],
  about: "Shows what changes from the first policy to the second.",
  options: [KEY_OPTION, ...AWS_OPTIONS, POLICY_FILE_OPTION, JSON_OPTION],
  positionals: 2,
  run: diff,
};

/** The facts about the key from the options. */
async function givenFacts(options: Options): Promise<KeyFacts> {
  const file = options.text("grants");
  const origin = options.text("origin");
  if (file === undefined) return { origin };
  const grants = field(await readJson(file, "grants"), "Grants");
  if (!Array.isArray(grants)) {
    throw new UsageError(
      `Cannot find Grants in --grants ${file}`,
      "Give what aws kms list-grants prints.",
    );
  }
  const items: readonly unknown[] = grants;
  return {
    origin,
    grants: items.map((grant) => {
      const operations = field(grant, "Operations");
      const names: readonly unknown[] = Array.isArray(operations) ? operations : [];
      return {
        id: String(field(grant, "GrantId")),
        grantee: String(field(grant, "GranteePrincipal")),
        operations: names.map(String),
      };
    }),
  };
}

function showRules(options: Options, io: CtlIo): number {
  const lines = Object.entries(RULES).map(([id, { severity, about, remedy }]) =>
    `${severity} ${id}\n     ${about}\n     ${remedy}`
  );
  return printResult(options, io, { json: RULES, text: lines.join("\n") });
}

/** The policy to lint, and the facts about its key. */
async function subject(
  options: Options,
  io: CtlIo,
): Promise<{ readonly policy: KeyPolicy; readonly facts: KeyFacts }> {
  const [file = "-"] = options.positionals;
  if (options.text("key") === undefined || options.positionals.length > 0) {
    return { policy: await readPolicy(file), facts: await givenFacts(options) };
  }
  using admin = await openAdmin(options, io);
  const { keyFacts } = await import("../policy/apply.ts");
  return { policy: readKeyPolicy(await admin.getPolicy()), facts: await keyFacts(admin) };
}

async function lint(given: Options, io: CtlIo): Promise<number> {
  if (given.on("rules")) return showRules(given, io);
  // Without --live a policy comes from a file or stdin, and not from the key of the policy file.
  const filled = POLICY_LINT.options.filter(({ name }) => name !== "key" || given.on("live"));
  const options = await fillFromPolicyFile(given, filled);
  const { policy, facts } = await subject(options, io);
  const report = lintKeyPolicy(policy, { ...lintOptionsOf(options), facts });
  return printResult(options, io, { json: report, text: formatLint(report), ok: report.ok });
}

async function diff(given: Options, io: CtlIo): Promise<number> {
  const options = await fillFromPolicyFile(given, POLICY_DIFF.options);
  const [first, second] = options.positionals;
  const isOfKey = options.text("key") !== undefined && second === undefined;
  if (first === undefined || (!isOfKey && second === undefined)) {
    throw new UsageError("Which policies?", "Give two files (- for stdin), or -k <key arn> and one.");
  }
  if (first === "-" && second === "-") throw new UsageError("Only one of the policies can be stdin");
  const before = isOfKey ? await policyOfKey(options, io) : await readPolicy(first);
  const lines = diffKeyPolicies(before, await readPolicy(second ?? first));
  printResult(options, io, { json: { changed: lines.length > 0, lines }, text: formatDiff(lines) });
  return EXIT.ok;
}
