/**
 * `denclavectl policy render`, `rollover` and `finalise`: new key policies from builds.
 *
 * @module
 */
import { EXIT, type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { formatKeyPolicy, type KeyPolicy } from "../aws/key_policy.ts";
import { lintKeyPolicy, type LintReport } from "../policy/lint.ts";
import {
  type Measurements,
  measurementsOf,
  pcr3OfRole,
  pcr4OfInstance,
  readMeasurements,
} from "../policy/measurements.ts";
import { finalise, parentsOf, renderKeyPolicy, rollOver } from "../policy/render.ts";
import type { Command } from "../terminal/command.ts";
import { readInput } from "../terminal/io.ts";
import {
  ADMIN_OPTION,
  AWS_OPTIONS,
  ISSUER_OPTION,
  JSON_OPTION,
  KEY_OPTION,
  LINT_OPTIONS,
  MEASUREMENTS_OPTION,
  PARENT_OPTION,
  PCR_OPTION,
  POLICY_FILE_OPTION,
} from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { expectedPcrs } from "./attestation_options.ts";
import { fillFromPolicyFile, givenPolicy, lintOptionsOf, policyOfKey } from "./policy_input.ts";
import { formatLint } from "./policy_text.ts";

const BUILD_OPTIONS: readonly OptionSpec[] = [MEASUREMENTS_OPTION, PCR_OPTION];

const STATEMENT_OPTIONS: readonly OptionSpec[] = [
  { name: "role-arn", value: "ARN", help: "pin PCR3, the parent's role; also used as --parent" },
  {
    name: "instance-id",
    value: "ID",
    multiple: true,
    help: "pin PCR4, the parent instance; repeat for more, each gets a statement",
  },
  { name: "image-sha384", help: "also write ImageSha384, which equals PCR0" },
  { name: "generate-random", help: "also allow GenerateRandom" },
];

/** Of commands that start from a policy: a file's, or the key's. */
const CHANGE_OPTIONS: readonly OptionSpec[] = [
  ...LINT_OPTIONS,
  KEY_OPTION,
  ...AWS_OPTIONS,
  POLICY_FILE_OPTION,
  JSON_OPTION,
];

/** The builds of the options: each measured image, with the role and under each instance that is given. */
async function givenBuilds(options: Options): Promise<readonly Measurements[]> {
  const builds: Measurements[] = [];
  for (const file of options.list("measurements")) {
    builds.push(...readMeasurements(await readInput(file), file));
  }
  const pcrs = Object.entries(expectedPcrs(options)).map(([index, hex]) => [Number(index), hex] as const);
  if (pcrs.length > 0) builds.push(measurementsOf(new Map(pcrs)));
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

/** The policy to start from. */
async function startingPolicy(options: Options, io: CtlIo): Promise<KeyPolicy> {
  const isOfKey = options.text("key") !== undefined && options.positionals.length === 0;
  return isOfKey ? await policyOfKey(options, io) : await givenPolicy(options);
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

async function rollover(options: Options, io: CtlIo): Promise<number> {
  let policy = await startingPolicy(options, io);
  const given = statementOptions(options);
  const parents = given.parents.length === 0 ? parentsOf(policy) : given.parents;
  for (const build of await givenBuilds(options)) {
    policy = rollOver(policy, build, { ...given, parents });
  }
  return showPolicy(policy, lintKeyPolicy(policy, { ...lintOptionsOf(options), parents }), options, io);
}

async function finish(options: Options, io: CtlIo): Promise<number> {
  const policy = finalise(await startingPolicy(options, io), await givenBuilds(options));
  return showPolicy(policy, lintKeyPolicy(policy, lintOptionsOf(options)), options, io);
}

/** A command whose options come from the policy file as well. */
function withPolicyFile(
  command: Omit<Command, "run">,
  run: (options: Options, io: CtlIo) => Promise<number>,
): Command {
  return {
    ...command,
    run: async (options, io) => await run(await fillFromPolicyFile(options, command.options), io),
  };
}

/** The commands. */
export const POLICY_RENDER_COMMANDS: readonly Command[] = [
  withPolicyFile({
    path: "policy render",
    summary: "write a key policy from the measurements of builds",
    usage: "-m <file> --parent <arn> --admin <arn> [options]",
    about:
      `Writes a key policy: an Allow for each build, a Deny that keeps all others out, and administrators who may not
use the key. PCR8 is pinned where the measurements have it.`,
    options: [
      ...BUILD_OPTIONS,
      PARENT_OPTION,
      ADMIN_OPTION,
      ISSUER_OPTION,
      ...STATEMENT_OPTIONS,
      { name: "inspect", help: "let the parent read the key's state and policy, for denclavectl doctor" },
      POLICY_FILE_OPTION,
      JSON_OPTION,
    ],
  }, render),
  withPolicyFile({
    path: "policy rollover",
    summary: "add a build to a key policy",
    usage: ["<file>|- -m <file> [options]", "-k <key arn> -m <file> [options]"],
    about: "Adds a build to the policy, so that the old and the new build can both run.",
    options: [...BUILD_OPTIONS, ...STATEMENT_OPTIONS, ...CHANGE_OPTIONS],
    positionals: 1,
  }, rollover),
  withPolicyFile({
    path: "policy finalise",
    summary: "remove all other builds from a key policy",
    usage: ["<file>|- -m <file> [options]", "-k <key arn> -m <file> [options]"],
    about: "Removes all builds except those that are given.",
    options: [...BUILD_OPTIONS, ...CHANGE_OPTIONS],
    positionals: 1,
  }, finish),
];
