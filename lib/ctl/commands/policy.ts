/**
 * `denclavectl policy iam`, and the commands for key policies, which are loaded when they are called.
 *
 * @module
 */
import { EXIT, helpLines, parseOptions, UsageError } from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { iamPolicy } from "../policy/iam.ts";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { type CtlIo, KEY_OPTION, TABLE_OPTION, tableName } from "../terminal/io.ts";

/** Commands of the group. */
export const POLICY_COMMANDS = [
  "init",
  "iam",
  "render",
  "lint",
  "diff",
  "rollover",
  "finalise",
  "apply",
] as const;

const SPECS = [
  {
    ...KEY_OPTION,
    multiple: true,
    help: "a KMS key; repeat for more",
  },
  TABLE_OPTION,
  { name: "no-table", help: "do not allow DynamoDB: the accounts are stored elsewhere" },
  ...COMMON_OPTIONS,
] as const;

const HELP = `usage: denclavectl policy iam -k <key arn> [-t <table>]

Prints the IAM policy of the parent's role. It lets the parent call KMS; the key's own policy decides what KMS returns.

${helpLines(SPECS)}
`;

function iam(argv: readonly string[], io: CtlIo): number {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const keys = options.list("key").map(parseKeyArn);
  if (keys.length === 0) {
    throw new UsageError("Which KMS key?", "Give -k <key arn>: denclavectl kms create-key prints it.");
  }
  const table = options.on("no-table") ? undefined : tableName(options);
  io.stdout(`${JSON.stringify(iamPolicy({ keys, table }), null, 2)}\n`);
  return EXIT.ok;
}

/** Runs a command of the group. */
export async function runPolicy(command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  if (command === "init") return await (await import("./policy_init.ts")).policyInit(argv, io);
  if (command === "iam") return iam(argv, io);
  const { runKeyPolicy } = await import("./key_policy.ts");
  return await runKeyPolicy(command, argv, io);
}
