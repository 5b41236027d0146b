/**
 * `denclavectl policy init`: writes `denclave-policy.yaml`.
 *
 * @module
 */
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import { formatPolicyIntent, parsePolicyIntent, POLICY_FILE } from "../config/policy_intent.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { type CtlIo, KEY_OPTION } from "../terminal/io.ts";

const SPECS = [
  KEY_OPTION,
  { name: "parent", value: "ARN", multiple: true, help: "the parent instance's role; repeat for more" },
  {
    name: "admin",
    value: "ARN",
    multiple: true,
    help: "a reviewed administrator of the key; repeat for more",
  },
  {
    name: "issuer",
    value: "ARN",
    multiple: true,
    help: "a principal that may wrap session keys; repeat for more",
  },
  { name: "no-inspect", help: "do not let the parent read the key's state and policy (doctor needs it)" },
  {
    name: "measurements",
    short: "m",
    value: "FILE",
    multiple: true,
    help: "a build, the newest last; repeat for more",
  },
  { name: "file", short: "f", value: "FILE", default: POLICY_FILE, help: "the file to write" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: denclavectl policy init -k <key arn> --parent <arn> --admin <arn> [options]

Writes the file that says who may do what with the key. The other policy commands and the doctor read it, so that
nothing is said twice. An existing file is never overwritten: edit it.

${helpLines(SPECS)}
`;

/** Writes the file. @throws {UsageError | EnclaveError} and writes nothing. */
export async function policyInit(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const key = options.text("key");
  if (key === undefined) {
    throw new UsageError("Which KMS key?", "Give -k <key arn>: denclavectl kms create-key prints it.");
  }
  const file = options.text("file") ?? POLICY_FILE;
  const builds = options.list("measurements");
  const text = formatPolicyIntent({
    key: parseKeyArn(key).arn,
    parents: options.list("parent"),
    administrators: options.list("admin"),
    issuers: options.list("issuer"),
    inspect: !options.on("no-inspect"),
    builds: builds.length === 0 ? ["build/enclave.json"] : builds,
  });
  // Report missing options before writing.
  parsePolicyIntent(text, file);
  try {
    await Deno.writeTextFile(file, text, { createNew: true });
  } catch (thrown) {
    throw new EnclaveError(`Cannot write ${file}: ${messageOf(thrown)}`, {
      code: "usage",
      hint: "An existing file is never overwritten: edit it, or name another with -f.",
      cause: thrown,
    });
  }
  io.stdout(`${file}\n`);
  return EXIT.ok;
}
