/**
 * `denclavectl policy render|lint|diff|rollover|finalise|apply`: key policies, from files, stdin or a key.
 *
 * @module
 */
import { EXIT, helpLines, type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import type { KeyAdmin } from "../client/key_admin.ts";
import { diffKeyPolicies } from "../policy/diff.ts";
import { formatKeyPolicy, type KeyPolicy, KeyPolicyError, readKeyPolicy } from "../aws/key_policy.ts";
import { type KeyFacts, lintKeyPolicy, type LintOptions, type LintReport } from "../policy/lint.ts";
import {
  type Measurements,
  measurementsOf,
  pcr3OfRole,
  pcr4OfInstance,
  readMeasurements,
} from "../policy/measurements.ts";
import { finalise, parentsOf, renderKeyPolicy, rollOver } from "../policy/render.ts";
import { isRuleId, type RuleId, RULES } from "../policy/rules.ts";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { parseWithPolicyFile, POLICY_FILE_OPTION } from "./policy_file.ts";
import {
  AWS_OPTIONS,
  checkRegion,
  credentialSource,
  type CtlIo,
  inputName,
  KEY_OPTION as KMS_KEY_OPTION,
  readInput,
} from "../terminal/io.ts";
import { formatDiff, formatLint } from "./policy_text.ts";

const JSON_OPTION = { name: "json", help: "print the result as JSON" } as const;

const BUILD_OPTIONS = [
  {
    name: "measurements",
    short: "m",
    value: "FILE",
    multiple: true,
    help: "a build: JSON from nitro-cli describe-eif or denclavectl eif describe; repeat for more",
  },
  { name: "pcr", value: "N=HEX", multiple: true, help: "a build by its PCRs; 0, 1 and 2 are required" },
  { name: "role-arn", value: "ARN", help: "pin PCR3, the parent's role; also used as --parent" },
  {
    name: "instance-id",
    value: "ID",
    multiple: true,
    help: "pin PCR4, the parent instance; repeat for more, each gets a statement",
  },
] as const satisfies readonly OptionSpec[];

const STATEMENT_OPTIONS = [
  { name: "parent", value: "ARN", multiple: true, help: "the parent's role, which may use the key" },
  { name: "image-sha384", help: "also write ImageSha384, which equals PCR0" },
  { name: "generate-random", help: "also allow GenerateRandom" },
] as const satisfies readonly OptionSpec[];

const KEY_OPTION = {
  ...KMS_KEY_OPTION,
  help: "the key that the policy is for",
} as const satisfies OptionSpec;

const REVIEW_OPTIONS = [
  {
    name: "reviewed",
    value: "ARN",
    multiple: true,
    help: "a reviewed administrator: its rights are reported as warnings",
  },
  { name: "accept", value: "RULE", multiple: true, help: "report this rule's findings as warnings" },
] as const satisfies readonly OptionSpec[];

const AFTER_OPTIONS = [POLICY_FILE_OPTION, JSON_OPTION, ...COMMON_OPTIONS] as const;

const CHANGE_OPTIONS = [
  ...REVIEW_OPTIONS,
  { ...KEY_OPTION, help: "start from the policy of this key" },
  ...AWS_OPTIONS,
  ...AFTER_OPTIONS,
] as const satisfies readonly OptionSpec[];

const RENDER_SPECS = [
  ...BUILD_OPTIONS,
  ...STATEMENT_OPTIONS,
  {
    name: "admin",
    value: "ARN",
    multiple: true,
    help: "an administrator, who may manage the key but not use it",
  },
  {
    name: "issuer",
    value: "ARN",
    multiple: true,
    help: "a principal that may wrap session keys and nothing else (denclavectl tsk)",
  },
  { name: "inspect", help: "let the parent read the key's state and policy, for denclavectl doctor" },
  ...AFTER_OPTIONS,
] as const satisfies readonly OptionSpec[];

const LINT_SPECS = [
  {
    name: "parent",
    value: "ARN",
    multiple: true,
    help: "the parent's role, which must not administer the key even if reviewed",
  },
  ...REVIEW_OPTIONS,
  { name: "origin", value: "ORIGIN", help: "where the key's material comes from, as KMS describes the key" },
  { name: "grants", value: "FILE", help: "the key's grants: JSON of aws kms list-grants" },
  { ...KEY_OPTION, help: "lint the policy of this key, with its origin and its grants" },
  { name: "live", help: "lint the policy of the key that the policy file names" },
  { name: "rules", help: "print the rules" },
  ...AWS_OPTIONS,
  ...AFTER_OPTIONS,
] as const satisfies readonly OptionSpec[];

const DIFF_SPECS = [
  { ...KEY_OPTION, help: "compare with the policy of this key" },
  ...AWS_OPTIONS,
  ...AFTER_OPTIONS,
] as const satisfies readonly OptionSpec[];

const ROLLOVER_SPECS = [
  ...BUILD_OPTIONS,
  ...STATEMENT_OPTIONS,
  ...CHANGE_OPTIONS,
] as const satisfies readonly OptionSpec[];

const FINALISE_SPECS = [
  ...BUILD_OPTIONS.slice(0, 2),
  ...CHANGE_OPTIONS,
] as const satisfies readonly OptionSpec[];

const APPLY_SPECS = [
  KEY_OPTION,
  { name: "yes", help: "make the change; without it nothing is changed" },
  {
    name: "parent",
    value: "ARN",
    multiple: true,
    help: "the parent's role, which must not administer the key even if reviewed",
  },
  ...REVIEW_OPTIONS,
  ...AWS_OPTIONS,
  ...AFTER_OPTIONS,
] as const satisfies readonly OptionSpec[];

const COMMANDS = {
  render: {
    usage: "render -m <file> --parent <arn> --admin <arn>",
    about:
      `Writes a key policy: an Allow for each build, a Deny that keeps all others out, and administrators who may not
use the key. PCR8 is pinned where the measurements have it.`,
    specs: RENDER_SPECS,
    positionals: 0,
    run: render,
  },
  lint: {
    usage: "lint [<file>] | -k <key arn> | --live",
    about:
      `Finds what defeats attestation in a key policy: of a file, of stdin, or of a key. Exit code 1 when a finding fails.`,
    specs: LINT_SPECS,
    positionals: 1,
    run: lint,
  },
  diff: {
    usage: "diff <file|-> <file|-> | -k <key arn> <file|->",
    about: "Shows what changes from the first policy to the second.",
    specs: DIFF_SPECS,
    positionals: 2,
    run: diff,
  },
  rollover: {
    usage: "rollover <file|-> -m <file> | -k <key arn> -m <file>",
    about: "Adds a build to the policy, so that the old and the new build can both run.",
    specs: ROLLOVER_SPECS,
    positionals: 1,
    run: rollover,
  },
  finalise: {
    usage: "finalise <file|-> -m <file> | -k <key arn> -m <file>",
    about: "Removes all builds except those that are given.",
    specs: FINALISE_SPECS,
    positionals: 1,
    run: finish,
  },
  apply: {
    usage: "apply <file|-> -k <key arn> [--yes]",
    about:
      `Shows what would change, and what the linter says; with --yes changes it. Refused when a finding fails, or when
the caller could not change the policy again.`,
    specs: APPLY_SPECS,
    positionals: 1,
    run: apply,
  },
} as const satisfies Readonly<
  Record<string, {
    readonly usage: string;
    readonly about: string;
    readonly specs: readonly OptionSpec[];
    /** How many arguments it takes at most. */
    readonly positionals: number;
    readonly run: (options: Options, io: CtlIo) => Promise<number>;
  }>
>;

/** Runs a command about key policies. */
export async function runKeyPolicy(name: string, argv: readonly string[], io: CtlIo): Promise<number> {
  if (!Object.hasOwn(COMMANDS, name)) throw new UsageError(`Unknown command policy ${name}`);
  const command = COMMANDS[name as keyof typeof COMMANDS];
  const { specs, usage, about, positionals, run } = command;
  const options = await parseWithPolicyFile(
    specs,
    argv,
    io,
    {
      positionals,
      take: (given) =>
        specs.map(({ name: option }) => option).filter((option) => !leavesOpen(name, option, given)),
    },
  );
  if (options.on("help")) {
    return io.stdout(
      `usage: denclavectl policy ${usage} [options]\n\n${about}\n\n${helpLines(specs)}\n`,
    ),
      EXIT.ok;
  }
  return await run(options, io);
}

/** Options that the policy file does not fill: without --live, lint reads a policy from a file or stdin and not from the key. */
function leavesOpen(command: string, option: string, given: Options): boolean {
  return command === "lint" && option === "key" && !given.on("live");
}

async function openAdmin(options: Options, io: CtlIo): Promise<KeyAdmin> {
  const arn = options.text("key");
  if (arn === undefined) throw new UsageError("Which key?", "Give -k <key arn>.");
  const key = parseKeyArn(arn);
  checkRegion(options, key);
  const { openKeyAdmin } = await import("../client/open_key_admin.ts");
  return openKeyAdmin({
    key,
    credentials: credentialSource(options, io),
    endpoint: options.text("endpoint-url"),
  });
}

/** The file on the command line. */
function onePositional(options: Options): string {
  const [file] = options.positionals;
  if (file !== undefined) return file;
  throw new UsageError("Which policy?", "Give one file, or - for stdin.");
}

/** As {@link readKeyPolicy}, with the input's name in its errors. */
function policyOf(text: string, file: string): KeyPolicy {
  try {
    return readKeyPolicy(text);
  } catch (thrown) {
    if (!(thrown instanceof KeyPolicyError)) throw thrown;
    const { code, hint, message } = thrown;
    throw new KeyPolicyError(`${inputName(file)}: ${message}`, { code, hint, cause: thrown });
  }
}

async function readPolicy(file: string): Promise<KeyPolicy> {
  return policyOf(await readInput(file), file);
}

async function policyOfStdin(): Promise<KeyPolicy> {
  const text = await readInput("-");
  if (text.trim() !== "") return policyOf(text, "-");
  throw new UsageError(
    "Which policy? Stdin is empty",
    "Give a file, pipe a policy in, or give -k <key arn> or --live.",
  );
}

/** The policy of the file, or of the key. */
async function givenPolicy(options: Options, io: CtlIo): Promise<KeyPolicy> {
  if (options.text("key") === undefined || options.positionals.length > 0) {
    return await readPolicy(onePositional(options));
  }
  using admin = await openAdmin(options, io);
  return readKeyPolicy(await admin.getPolicy());
}

function pcrPairs(options: Options): ReadonlyMap<number, string> {
  return new Map(
    options.list("pcr").map((pair) => {
      const [, index, hex] = /^([0-9]{1,2})=([0-9a-fA-F]+)$/.exec(pair) ?? [];
      if (index === undefined || hex === undefined) {
        throw new UsageError(
          `Cannot use ${JSON.stringify(pair)} for --pcr`,
          "Write <index>=<96 hex digits>.",
        );
      }
      return [Number(index), hex] as const;
    }),
  );
}

/** The builds of the options: each measured image, with the role and under each instance that is given. */
async function givenBuilds(options: Options): Promise<readonly Measurements[]> {
  const builds: Measurements[] = [];
  for (const file of options.list("measurements")) {
    builds.push(...readMeasurements(await readInput(file), file));
  }
  const pcrs = pcrPairs(options);
  if (pcrs.size > 0) builds.push(measurementsOf(pcrs));
  if (builds.length === 0) throw new UsageError("Which build?", "Give -m <file>, or --pcr 0=…,1=…,2=….");
  const role = options.text("role-arn");
  const pinned = role === undefined ? {} : { pcr3: await pcr3OfRole(role) };
  const instances = await Promise.all(options.list("instance-id").map(pcr4OfInstance));
  return builds.flatMap((build) =>
    instances.length === 0
      ? [{ ...build, ...pinned }]
      : instances.map((pcr4) => ({ ...build, ...pinned, pcr4 }))
  );
}

function statementOptions(options: Options) {
  const parents = options.list("parent");
  const role = options.text("role-arn");
  return {
    parents: parents.length === 0 && role !== undefined ? [role] : parents,
    imageSha384: options.on("image-sha384"),
    generateRandom: options.on("generate-random"),
  };
}

function acceptedRules(options: Options): readonly RuleId[] {
  return options.list("accept").map((name) => {
    if (isRuleId(name)) return name;
    throw new UsageError(
      `Cannot use ${JSON.stringify(name)} for --accept`,
      "denclavectl policy lint --rules lists the rules.",
    );
  });
}

function lintOptions(options: Options): LintOptions {
  return {
    parents: options.list("parent"),
    reviewed: options.list("reviewed"),
    accepted: acceptedRules(options),
  };
}

/** Prints a new policy, and the linter's findings on stderr. */
function showPolicy(policy: KeyPolicy, report: LintReport, options: Options, io: CtlIo): number {
  if (options.on("json")) io.stdout(`${JSON.stringify({ policy, lint: report }, null, 2)}\n`);
  else {
    io.stdout(`${formatKeyPolicy(policy)}\n`);
    io.stderr(formatLint(report));
  }
  return report.ok ? EXIT.ok : EXIT.failed;
}

async function render(options: Options, io: CtlIo): Promise<number> {
  const builds = await givenBuilds(options);
  const administrators = options.list("admin");
  const statements = statementOptions(options);
  const policy = renderKeyPolicy({
    builds,
    administrators,
    inspect: options.on("inspect"),
    issuers: options.list("issuer"),
    ...statements,
  });
  const report = lintKeyPolicy(policy, { parents: statements.parents, reviewed: administrators });
  return showPolicy(policy, report, options, io);
}

function field(input: unknown, name: string): unknown {
  return typeof input === "object" && input !== null && Object.hasOwn(input, name)
    ? (input as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

/** The facts about the key from the options. */
async function givenFacts(options: Options): Promise<KeyFacts> {
  const file = options.text("grants");
  const origin = options.text("origin");
  if (file === undefined) return { origin };
  let input: unknown;
  try {
    input = JSON.parse(await readInput(file));
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    throw new UsageError(`Cannot read --grants ${file}: ${thrown.message}`);
  }
  const grants = field(input, "Grants");
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

async function lint(options: Options, io: CtlIo): Promise<number> {
  if (options.on("rules")) {
    const rules = Object.entries(RULES);
    io.stdout(
      options.on("json")
        ? `${JSON.stringify(RULES, null, 2)}\n`
        : rules.map(([id, { severity, about, remedy }]) =>
          `${severity} ${id}\n     ${about}\n     ${remedy}\n`
        )
          .join(""),
    );
    return EXIT.ok;
  }
  let policy: KeyPolicy;
  let facts: KeyFacts;
  if (options.text("key") !== undefined && options.positionals.length === 0) {
    using admin = await openAdmin(options, io);
    const { keyFacts } = await import("../policy/apply.ts");
    policy = readKeyPolicy(await admin.getPolicy());
    facts = await keyFacts(admin);
  } else {
    policy = options.positionals.length === 0
      ? await policyOfStdin()
      : await readPolicy(onePositional(options));
    facts = await givenFacts(options);
  }
  const report = lintKeyPolicy(policy, { ...lintOptions(options), facts });
  io.stdout(
    options.on("json") ? `${JSON.stringify(report, null, 2)}\n` : formatLint(report),
  );
  return report.ok ? EXIT.ok : EXIT.failed;
}

async function diff(options: Options, io: CtlIo): Promise<number> {
  const files = options.positionals;
  const fromKey = options.text("key") !== undefined && files.length === 1;
  const [first, second] = files;
  if (first === undefined || (!fromKey && second === undefined)) {
    throw new UsageError("Which policies?", "Give two files (- for stdin), or -k <key arn> and one.");
  }
  if (first === "-" && second === "-") throw new UsageError("Only one of the policies can be stdin");
  const before = fromKey ? await policyOfKey(options, io) : await readPolicy(first);
  const after = await readPolicy(second ?? first);
  const lines = diffKeyPolicies(before, after);
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ changed: lines.length > 0, lines }, null, 2)}\n`
      : formatDiff(lines),
  );
  return EXIT.ok;
}

async function policyOfKey(options: Options, io: CtlIo): Promise<KeyPolicy> {
  using admin = await openAdmin(options, io);
  return readKeyPolicy(await admin.getPolicy());
}

async function rollover(options: Options, io: CtlIo): Promise<number> {
  let policy = await givenPolicy(options, io);
  const given = statementOptions(options);
  const parents = given.parents.length === 0 ? parentsOf(policy) : given.parents;
  for (const build of await givenBuilds(options)) {
    policy = rollOver(policy, build, { ...given, parents });
  }
  return showPolicy(policy, lintKeyPolicy(policy, { ...lintOptions(options), parents }), options, io);
}

async function finish(options: Options, io: CtlIo): Promise<number> {
  const policy = finalise(await givenPolicy(options, io), await givenBuilds(options));
  return showPolicy(policy, lintKeyPolicy(policy, lintOptions(options)), options, io);
}

async function apply(options: Options, io: CtlIo): Promise<number> {
  const { applyChange, planChange } = await import("../policy/apply.ts");
  const file = onePositional(options);
  using admin = await openAdmin(options, io);
  const after = await readPolicy(file);
  const change = await planChange(admin, after, lintOptions(options));
  const { difference, lint: report, callerArn } = change;
  const json = options.on("json");
  if (!json) {
    io.stdout(formatDiff(difference));
    io.stdout("\n");
    io.stdout(formatLint(report));
  }
  const isWanted = options.on("yes") && report.ok && difference.length > 0;
  const seen = isWanted ? await applyChange(admin, change) : false;
  const outcome = !report.ok
    ? "refused"
    : difference.length === 0
    ? "unchanged"
    : isWanted
    ? "applied"
    : "dry-run";
  if (json) {
    io.stdout(
      `${
        JSON.stringify({ outcome, confirmed: seen, caller: callerArn, difference, lint: report }, null, 2)
      }\n`,
    );
  } else {
    io.stdout(`\n${OUTCOMES[outcome]}${isWanted && !seen ? " KMS does not show it yet." : ""}\n`);
  }
  return report.ok ? EXIT.ok : EXIT.failed;
}

const OUTCOMES = {
  refused:
    "Nothing was changed: a finding fails. --reviewed names an administrator, --accept a rule that is taken as a warning.",
  unchanged: "The key has this policy already.",
  applied: "The key has the new policy.",
  "dry-run": "Nothing was changed. --yes makes the change.",
} as const;
