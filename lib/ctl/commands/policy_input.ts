/**
 * What the commands about key policies read: the policy file, builds, policies and what the linter should accept.
 *
 * @module
 */
import { type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { isFile } from "../../shared/files.ts";
import { type KeyPolicy, KeyPolicyError, readKeyPolicy } from "../aws/key_policy.ts";
import type { KeyAdmin } from "../aws/key_admin.ts";
import { parsePolicyIntent, type PolicyIntent } from "../config/policy_intent.ts";
import { isRuleId, type RuleId } from "../policy/rules.ts";
import { onePositional } from "../terminal/command.ts";
import { credentialSource, inputName, readInput, requireKey } from "../terminal/io.ts";
import { POLICY_FILE } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";

/** A path in the file is relative to the file's folder. */
function beside(file: string, path: string): string {
  const slash = file.lastIndexOf("/");
  return path.startsWith("/") || slash === -1 ? path : `${file.slice(0, slash + 1)}${path}`;
}

function valuesOf(intent: PolicyIntent, file: string): Readonly<Record<string, readonly string[]>> {
  return {
    key: [intent.key],
    parent: intent.parents,
    admin: intent.administrators,
    reviewed: intent.administrators,
    issuer: intent.issuers,
    inspect: intent.inspect ? ["true"] : [],
    measurements: intent.builds.map((path) => beside(file, path)),
  };
}

/**
 * Fills options from `denclave-policy.yaml`. Flags and environment variables override the file.
 *
 * @param specs the options that the file may fill
 * @throws {UsageError | ConfigError}
 */
export async function fillFromPolicyFile(options: Options, specs: readonly OptionSpec[]): Promise<Options> {
  const given = options.text("policy-file");
  if (given === undefined && !await isFile(POLICY_FILE)) return options;
  const file = given ?? POLICY_FILE;
  const intent = parsePolicyIntent(await readInput(file), file);
  const key = options.text("key");
  if (key !== undefined && key !== intent.key) {
    throw new UsageError(
      `${file} is about ${intent.key}, and --key names ${key}`,
      "Leave one of them out, or give the other key's file with -f.",
    );
  }
  const values = Object.entries(valuesOf(intent, file))
    .filter(([name, list]) => list.length > 0 && specs.some((spec) => spec.name === name));
  return options.filled(new Map(values));
}

/** The administration of the key of --key. @throws {EnclaveError} */
export async function openAdmin(options: Options, io: CtlIo): Promise<KeyAdmin> {
  const key = requireKey(options);
  const { openKeyAdmin } = await import("../aws/open_key_admin.ts");
  return openKeyAdmin({
    key,
    credentials: credentialSource(options, io),
    endpoint: options.text("endpoint-url"),
  });
}

/** Parses a policy. @throws {KeyPolicyError} that begins with the input's name. */
function parsePolicy(text: string, file: string): KeyPolicy {
  try {
    return readKeyPolicy(text);
  } catch (thrown) {
    if (!(thrown instanceof KeyPolicyError)) throw thrown;
    const { code, hint, message } = thrown;
    throw new KeyPolicyError(`${inputName(file)}: ${message}`, { code, hint, cause: thrown });
  }
}

/** The policy in a file, or stdin for `-`. */
export async function readPolicy(file: string): Promise<KeyPolicy> {
  const text = await readInput(file);
  if (file !== "-" || text.trim() !== "") return parsePolicy(text, file);
  throw new UsageError(
    "Which policy? Stdin is empty",
    "Give a file, pipe a policy in, or give -k <key arn> or --live.",
  );
}

/** The policy that the key has. */
export async function policyOfKey(options: Options, io: CtlIo): Promise<KeyPolicy> {
  using admin = await openAdmin(options, io);
  return readKeyPolicy(await admin.getPolicy());
}

/** The policy in the file on the command line. */
export async function givenPolicy(options: Options): Promise<KeyPolicy> {
  return await readPolicy(onePositional(options, "Which policy?", "Give one file, or - for stdin."));
}

/** What the linter should accept. */
interface Judgement {
  readonly parents: readonly string[];
  readonly reviewed: readonly string[];
  readonly accepted: readonly RuleId[];
}

/** Reads `LINT_OPTIONS`. @throws {UsageError} */
export function lintOptionsOf(options: Options): Judgement {
  return {
    parents: options.list("parent"),
    reviewed: options.list("reviewed"),
    accepted: options.list("accept").map((name) => {
      if (isRuleId(name)) return name;
      throw new UsageError(
        `Cannot use ${JSON.stringify(name)} for --accept`,
        "denclavectl policy lint --rules lists the rules.",
      );
    }),
  };
}
